"""What a capture's page and mail say first: the recording, the answer in three sentences, and how far to trust it."""

from itertools import groupby
from operator import itemgetter
from typing import Any

from reports.case import Case
from reports.formats import count, duration, listed, number, percent, size, span

CLOCK = {
    "bare metal": "Recorded on bare metal: rates and waiting are the machine's own.",
    "virtual machine": "Recorded in a virtual machine: rates are real, but for the time that its host took away.",
    "emulator": "Recorded under emulation: the order of events is real, their rates and all waiting are not.",
    None: "Whether the machine ran at its own speed is not recorded: trust the order of events, not their rates.",
}


def machine(case: Case) -> str:
    """The recorded machine, in one line."""
    capture = case.capture
    parts = [
        f"Linux {capture['kernel_release']}" if capture["kernel_release"] else "kernel not recorded",
        capture["arch"] or "architecture not recorded",
        size(capture["total_pages"] * capture["page_size"]) if capture["total_pages"] else "memory size not recorded",
        count(capture["cpus"], "CPU"),
    ]
    return ", ".join(parts)


def recorded(case: Case) -> str:
    """What was recorded, in one sentence."""
    capture = case.capture
    seconds = capture["seconds"]
    clock = " of emulated time" if capture["timing"] == "emulated" else ""
    clock += ", part of the recording" if capture["in_part"] else ""
    took = f"{seconds:.1f} s" if seconds >= 1 else duration(seconds * 1e9)
    stacks = "with" if capture["has_stacks"] else "without"
    return f"{count(capture['events'], 'event')} in {took}{clock}, {stacks} kernel stacks."


def answer(case: Case) -> list[str]:
    """The answer in three sentences: what protecting costs the map, what else it costs, and what went wrong."""
    return [_map(case), _costs(case), _failures(case)]


def _map(case: Case) -> str:
    some = next(iter(case.metrics.values()))
    allocs, peak = some["ptp_allocs"], some["ptp_live_peak"]
    asked = (
        f"This workload asks for {count(allocs, 'page table')}"
        if allocs is not None
        else "How many page tables it asks for is unknown"
    )
    if peak:
        asked += f", at most {number(peak)} at once ({size(peak * case.capture['page_size'])})"
    if case.all_4k:
        return (
            f"{asked}; the kernel's map of memory is all in small pages here, so no strategy has a large page to split."
        )
    splits = {name: total for name in case.protecting if (total := case.run_time_splits(name)) is not None}
    if not splits:
        return f"{asked}; no strategy that protects them was replayed."
    today = case.run_time_splits("unprotected") if "unprotected" in case.metrics else None
    text = f"{asked}; to protect them, the strategies split {span(splits)} large pages of the kernel's map of memory"
    return f"{text}." if today is None else f"{text}; today's kernel splits {number(today)}."


def _costs(case: Case) -> str:
    allocs = next(iter(case.metrics.values()))["ptp_allocs"]
    parts = []
    if shares := {} if case.all_4k else case.over("pte_share_mean"):
        parts.append(f"leaves {span(shares, percent)} of that map in small pages")
    if idle := case.over("pool_idle_pages_mean"):
        page = case.capture["page_size"]
        parts.append(
            f"keeps {span({name: pages * page for name, pages in idle.items()}, size)} of memory unused in pools"
        )
    if allocs and (spent := case.over("conversion_ns")):
        each = {name: ns / allocs for name, ns in spent.items()}
        parts.append(f"takes {span(each, duration)} per page table to change keys, at assumed prices")
    return f"That {listed(parts)}." if parts else "What that costs was not modelled."


def _failures(case: Case) -> str:
    failed = [f"{name} ({listed(found)})" for name in case.metrics if (found := case.failures(name))]
    supplied = (
        f"Only {'; '.join(failed)} failed"
        if failed
        else "No strategy failed to supply a page table or ran out of memory"
    )
    pressed = [
        row
        for row in case.answers["risk"].records()
        if row["times_unprotected"] is not None and row["refill_order"] is None
    ]
    worst = max(pressed, key=lambda row: row["times_unprotected"], default=None)
    if worst is None:
        short = "how they fare when it is short was not measured (`ptpool replay risk`)"
    else:
        most = f"{worst['times_unprotected']:.2g} times the free memory of today's kernel ({worst['strategy']})"
        short = f"when it is short, they fail at up to {most}"
    return f"{supplied} with the recorded memory; {short}."


def elsewhere(case: Case) -> list[str]:
    """What the strategies do with other settings than the defaults, a sentence for each set of runs."""
    rows = case.answers["elsewhere"].records()
    return [_elsewhere(case, settings, list(found)) for settings, found in groupby(rows, key=itemgetter("settings"))]


def _elsewhere(case: Case, settings: str, rows: list[dict[str, Any]]) -> str:
    protecting = [row for row in rows if case.family(row["strategy"]) != "baseline"]
    failed = [row["strategy"] for row in protecting if row["not_supplied"] or row["oom_kills"]]
    sound = [row for row in protecting if row["strategy"] not in failed]
    splits = {
        row["strategy"]: (row["splits_warm_up"] or 0) + row["splits"] for row in sound if row["splits"] is not None
    }
    share = {row["strategy"]: row["pte_share_mean"] for row in sound if row["pte_share_mean"] is not None}
    text = f"With `{settings.replace('`', '')}`"
    if splits and share:
        text += (
            f", they split {span(splits)} large pages, those for page tables in use at the start included, and leave "
        )
        text += f"{span(share, percent)} of the map in small pages"
    return f"{text}; {listed(failed) or 'none'} failed."


def trust(case: Case) -> list[str]:
    """How far to trust it: the clock, what was lost, and where the model was compared with the machine."""
    capture, (judged,) = case.capture, case.answers["judged"].records()
    gone, kept = capture["lost_events"] or 0, capture["events"]
    lost = f"{number(gone) if gone else 'None'} of {number(gone + kept)} events {'was' if gone == 1 else 'were'} lost"
    bad = [f"{row['what']} {number(row['value'])}" for row in case.answers["data_quality"].records()
           if row["value"] and row["severity"] in ("data_loss", "error")]  # fmt: skip
    said = [f"{CLOCK[capture['platform']]} {lost}{f' ({listed(bad)})' if bad else ''}."]
    if judged["judged"]:
        said.append(
            f"Of {count(judged['judged'], 'number')} about the machine's memory that changed, the replay of today's "
            f"kernel predicts {number(judged['holding'])}."
        )
    else:
        said.append("The model was not compared with this machine: `ptpool replay validate` does that.")
    return said + [_splits(row) for row in case.answers["agreement"].records() if "splits" in row["quantity"]]


def _splits(row: dict[str, Any]) -> str:
    what, before = row["quantity"].replace(" since boot", ""), row["recorded_before"]
    counted = f"{what}: {number(row['recorded_after'] - before)} recorded"
    if row["replayed_after"] is None:
        return f"{counted}; today's kernel was not replayed."
    return f"{counted}, {number(row['replayed_after'] - before)} replayed with today's kernel."
