"""Short answers to the questions of the thread of September 2025, each with a number, its range and a link."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from reports.formats import count, duration, listed, number, percent, points, size
from reports.questions import Answers
from reports.ranking import BREAKS, to, two_digits, way

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
    searched = running_out(answers["searched"].records(), rows)
    return [
        Reply("Can it run out of page tables for a split?", searched, "check.md"),
        Reply("Does asking for four pages at once raise the risk of running out of memory?", *_order_2(answers, rows)),
        Reply("Does it need a cache for each CPU?", *_per_cpu(answers, rows)),
        Reply("Is changing keys at allocation a performance disaster?", *_conversion(answers, rows)),
        Reply("What do a map in small pages and one pool for all users cost?", *_map(answers, rows)),
    ]


def running_out(searched: Rows, rows: Rows) -> str:
    """Which strategies hold in the search of a small machine, which break, and whether any replay ran out."""
    failed = listed([row["strategy"] for row in rows if row["failures"]])
    replayed = f"In the replays {failed or 'none'} failed to supply a table."
    if not searched:
        return f"Not searched: run `ptpool replay check --db FILE`. {replayed}"
    held = listed([_named(row) for row in searched if row["holds"]])
    steps = min((row["depth"] for row in searched if row["holds"]), default=0)
    said = [f"On a small machine no sequence of {number(steps)} steps breaks {held}" if held else "None holds"]
    for kind, words in BREAKS.items():
        mine = [row for row in searched if row["kind"] == kind]
        named = [_named(row) + (f" ({way(row)})" if kind != "unkeyed_table" else "") for row in mine]
        said += [f"{words}: {listed(named)}"] if named else []
    return f"{'; '.join(said)}. {replayed}"


def _named(row: dict[str, Any]) -> str:
    return " with ".join(filter(None, (row["strategy"], row["settings"])))


def _page(capture: str, name: str) -> str:
    return f"{quote(capture)}/{name}.md"


def _order_2(answers: Answers, rows: Rows) -> tuple[str, ...]:
    found = answers["order_2"].records()
    if not found:
        return _reserve_block(rows)
    said = []
    for index in dict.fromkeys(row["unusable_index_2"] for row in (found[0], found[-1])):
        mine = [row for row in found if row["unusable_index_2"] == index]
        low = min(row["times_order_0"] if row["times_low"] is None else row["times_low"] for row in mine)
        high = max(row["times_order_0"] if row["times_high"] is None else row["times_high"] for row in mine)
        more = " or more" if any(row["times_or_more"] for row in mine) else ""
        said.append(f"{to(low, high, two_digits)} times{more} where {percent(index)} of it is in smaller pieces")
    drawn = count(min(row["draws"] for row in found), "machine")
    text = f"With four pages at once instead of one, the same pool wants this much more free memory: {listed(said)}"
    return f"{text} ({drawn} drawn).", _page(found[-1]["capture"], "pressure")


def _reserve_block(rows: Rows) -> tuple[str, ...]:
    mine = next((row for row in rows if row["strategy"] == "reserve-block" and row["times"] is not None), None)
    if mine is None:
        return ("Not measured: run `ptpool replay risk`.",)
    text = (
        f"`reserve-block`, which does, fails at {two_digits(mine['times'])} times the free memory at which today's "
        f"kernel fails ({to(mine['times_low'], mine['times_high'], two_digits)} over the variants of reclaim; "
        f"{count(mine['draws'], 'machine')} drawn), where {percent(mine['pressed_index_2'])} is in smaller pieces."
    )
    return text, _page(mine["pressed_capture"], "pressure")


def _per_cpu(answers: Answers, rows: Rows) -> tuple[str, ...]:
    found = answers["shared_list"].records()
    shared = [row for row in found if not row["per_cpu"]]
    if not shared:
        return ("Not simulated: run `ptpool replay contention`.",)
    cpus = [row["cpus_at_1_us"] for row in shared if row["cpus_at_1_us"]]
    text = "No: a shared list served all CPUs that were simulated."
    if cpus:
        text = (
            f"From {to(min(cpus), max(cpus), number)} CPUs on, by strategy, waiting for a shared list costs 5 % of "
            "allocation time, if they do nothing but fill page tables and a key change takes 1 µs (assumed)."
        )
    mine = [row for row in found if row["per_cpu"] and row["held_by_64_bytes"] is not None]
    held = listed([f"{size(row['held_by_64_bytes'])} ({row['variant']})" for row in mine])
    page = _page(rows[0]["easy_capture"], "contention") if rows and rows[0]["easy_capture"] else ""
    return f"{text} Caches for 64 CPUs hold {held} unused." if held else text, page


def _conversion(answers: Answers, rows: Rows) -> tuple[str, ...]:
    priced = [row for row in rows if row["family"] != "baseline" and row["table_ns_most"] is not None]
    sound = [row for row in priced if not row["failures"]]
    pools, tables = ([row for row in sound if (row["changes_most"] > 1.5) == each] for each in (False, True))
    if not pools:
        return ("Not priced: no pool was replayed.",)
    text = f"Where pages keep their key in the pool, changes take {_times(pools)} for each page table"
    if tables:
        text += f"; with a change for each table ({listed([row['strategy'] for row in tables])}), {_times(tables)}"
    shares = answers["conversion_share"].records()
    if not shares:
        return (f"{text}.",)
    most, clock = shares[0], "" if shares[0]["timing"] == "real" else ", by an emulated or unknown clock"
    text += (
        f". The dearest ({most['strategy']}) takes {percent(most['share'])} of one CPU's time"
        f" ({to(most['low_share'], most['high_share'], percent)} over the ranges of the assumed prices{clock})."
    )
    return text, _page(most["capture"], "conversion")


def _times(rows: Rows) -> str:
    return to(min(row["table_ns_least"] for row in rows), max(row["table_ns_most"] for row in rows), duration)


def _map(answers: Answers, rows: Rows) -> tuple[str, ...]:
    pools = [row for row in rows if row["family"] == "pool" and row["worn_share"] is not None]
    if not pools:
        return ("Not measured: no pool was replayed on a map with large pages.",)
    least = min(min(row["easy_share"] or 0, row["worn_share"]) for row in pools)
    most = max(row["worn_share"] for row in pools)
    text = f"Pools leave {to(least, most, percent)} of the kernel's map in small pages"
    for scale in answers["mapping_scale"].records():
        if scale["metric"] == "time":
            cost = f"{points(scale['low_pct'])} to {points(scale['high_pct'])} of run time"
            text += f"; all of it costs {cost} (published for {scale['arch']}; below 1 % nobody measured)"
    one, each = (
        next((row for row in pools if row["strategy"] == name), None) for name in ("generic", "generic-separate")
    )
    if one and each:
        text += f". On the worn machine, one pool for all users splits {_paid(one)}; a pool for each, {_paid(each)}"
    return f"{text}.", _page(pools[0]["worn_capture"], "mapping-cost")


def _paid(row: dict[str, Any]) -> str:
    return f"{count(row['worn_splits'], 'large page')} and holds {size(row['worn_held_bytes'])}"
