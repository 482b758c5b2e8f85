"""Short answers to the questions that were asked on the list in September 2025, each with a number, its range and a link."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from reports.formats import count, duration, listed, number, percent, points, size
from reports.questions import Answers
from reports.ranking import to, two_digits

Rows = Sequence[dict[str, Any]]


class Reply(NamedTuple):
    """A question, the answer in a sentence or two, and the page (from the index) that says more; empty: none does."""

    question: str
    answer: str
    page: str = ""


def replies(answers: Answers) -> list[Reply]:
    """The five answers, from what the warehouse holds.

    Args:
        answers: of the whole warehouse, not of one capture.
    """
    rows = answers["strategies"].records()
    return [
        Reply("Can it run out of page tables for a split?", running_out(answers["checked"].records(), rows), "check.md"),
        Reply("Does asking for four pages at once raise the risk of running out of memory?", *_order_2(answers, rows)),
        Reply("Does it need a cache for each CPU?", *_per_cpu(answers, rows)),
        Reply("Is changing keys at allocation a performance disaster?", *_conversion(answers, rows)),
        Reply("What do a map in small pages and one pool for all users cost?", *_map(answers, rows)),
    ]  # fmt: skip


def running_out(checked: Rows, rows: Rows) -> str:
    """Which strategies hold in the search of a small machine, which break, and whether any replay ran out."""
    failed = [f"{row['strategy']} ({number(row['failures'])} times)" for row in rows if row["failures"]]
    replayed = f"In replays these ran out: {listed(failed)}." if failed else "In the replays none ran out."
    if not checked:
        return f"Not searched: run `ptpool replay check --db FILE`. {replayed}"
    names = sorted({row["strategy"] for row in checked if row["default_parameters"]})
    broken = {row["strategy"]: row for row in reversed(checked) if not row["holds"] and row["default_parameters"]}
    said = [
        f"{name} ({count(row['tasks'], 'task')}, {number(row['steps'])} steps)"
        for name, row in sorted(broken.items(), key=lambda item: (item[1]["steps"], item[0]))
    ]
    depth, tasks = min(row["depth"] for row in checked), max(row["tasks"] for row in checked)
    held = f"{number(len(names) - len(broken))} of {count(len(names), 'strategy', 'strategies')} never did"
    breaking = f"; these can: {listed(said)}" if said else ""
    return (
        f"Over every sequence of up to {number(depth)} steps of {count(tasks, 'task')} on a small machine, {held}"
        f"{breaking}. {replayed}"
    )


def _page(capture: str, name: str) -> str:
    from urllib.parse import quote

    return f"{quote(capture)}/{name}.md"


def _order_2(answers: Answers, rows: Rows) -> tuple[str, ...]:
    found = answers["order_2"].records()
    if found:
        said = []
        for index in dict.fromkeys(row["unusable_index_2"] for row in (found[0], found[-1])):
            mine = [row for row in found if row["unusable_index_2"] == index]
            low = min(row["times_order_0"] if row["times_low"] is None else row["times_low"] for row in mine)
            high = max(row["times_order_0"] if row["times_high"] is None else row["times_high"] for row in mine)
            more = " or more" if any(row["times_or_more"] for row in mine) else ""
            said.append(
                f"{to(low, high, two_digits)} times{more} where {percent(index)} of free memory is in smaller pieces"
            )
        draws = min(row["draws"] for row in found)
        text = f"The same pool wants this much more memory with four pages than with one: {listed(said)} ({count(draws, 'machine')} drawn)."
        return text, _page(found[-1]["capture"], "pressure")
    mine = next((row for row in rows if row["strategy"] == "reserve-block" and row["times"] is not None), None)
    if mine is None:
        return ("Not measured: run `ptpool replay risk`.",)
    text = (
        f"`reserve-block`, which does, fails at {two_digits(mine['times'])} times the memory at which today's kernel fails "
        f"({to(mine['times_low'], mine['times_high'], two_digits)} over the variants of reclaim; {count(mine['draws'], 'machine')} "
        f"drawn), where {percent(mine['pressed_index_2'])} of free memory is in smaller pieces."
    )
    return text, _page(mine["pressed_capture"], "pressure")


def _per_cpu(answers: Answers, rows: Rows) -> tuple[str, ...]:
    found = answers["shared_list"].records()
    shared = [row for row in found if not row["per_cpu"]]
    if not shared:
        return ("Not simulated: run `ptpool replay contention`.",)
    cpus = [row["cpus_at_1_us"] for row in shared if row["cpus_at_1_us"]]
    held = [
        f"{size(row['held_by_64_bytes'])} ({row['variant']})"
        for row in found
        if row["per_cpu"] and row["held_by_64_bytes"] is not None
    ]
    text = (
        f"Waiting for a shared list costs over 5 % of allocation time from {to(min(cpus), max(cpus), number)} CPUs on, by "
        "strategy, if all of them fill page tables and a key change takes 1 µs (assumed)."
        if cpus
        else "No: a shared list served all CPUs that were simulated."
    ) + (f" Lists for each of 64 CPUs hold {listed(held)} unused." if held else "")
    return text, _page(rows[0]["easy_capture"], "contention") if rows and rows[0]["easy_capture"] else ""


def _conversion(answers: Answers, rows: Rows) -> tuple[str, ...]:
    pools, tables = (
        [r for r in rows if r["family"] == family and r["table_ns_most"] is not None]
        for family in ("pool", "per table")
    )
    if not pools:
        return ("Not priced: no pool was replayed.",)
    text = (
        f"With a pool, key changes take {to(min(r['table_ns_least'] for r in pools), max(r['table_ns_most'] for r in pools), duration)} "
        "for each page table, by strategy and recording"
    )
    if tables:
        text += f"; with one change for each table {to(min(r['table_ns_least'] for r in tables), max(r['table_ns_most'] for r in tables), duration)}"
    dearest = next(iter(answers["conversion_share"].records()), None)
    if dearest:
        clock = "" if dearest["timing"] == "real" else " by a clock that is not real"
        text += (
            f". The dearest ({dearest['strategy']}) takes {percent(dearest['share'])} of one CPU's time{clock} "
            f"({to(dearest['low_share'], dearest['high_share'], percent)} over the ranges of the prices)"
        )
        return f"{text}.", _page(dearest["capture"], "conversion")
    return (f"{text}.",)


def _map(answers: Answers, rows: Rows) -> tuple[str, ...]:
    pools = [row for row in rows if row["family"] == "pool" and row["worn_share"] is not None]
    scale = next((row for row in answers["mapping_scale"].records() if row["metric"] == "time"), None)
    if not pools:
        return ("Not measured: no pool was replayed on a map with large pages.",)
    least = min(min(row["easy_share"] or 0, row["worn_share"]) for row in pools)
    text = (
        f"Pools leave {to(least, max(row['worn_share'] for row in pools), percent)} of the kernel's map in small pages"
    )
    if scale:
        text += (
            f"; all of it in small pages costs {points(scale['low_pct'])} to {points(scale['high_pct'])} of run time (published "
            f"for {scale['arch']} only), and nothing was ever measured below 1 %"
        )
    both = {
        row["strategy"]: row
        for row in rows
        if row["strategy"] in ("generic", "generic-separate") and row["worn_splits"] is not None
    }
    if len(both) == 2:
        one, each = both["generic"], both["generic-separate"]
        text += (
            f". One pool for all users splits {number(one['worn_splits'])} large pages and holds {size(one['worn_held_bytes'])}; "
            f"a pool for each, {number(each['worn_splits'])} and {size(each['worn_held_bytes'])}"
        )
    return f"{text}.", _page(pools[0]["worn_capture"], "mapping-cost")
