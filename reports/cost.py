"""Sentences on what the mapping costs and on how far a recording can be trusted. Pure functions of a ``Case``."""

from reports.case import Case
from reports.findings import MEASURED_FROM
from reports.formats import count, listed, number, percent, points

TIMING = {
    "real": "Recorded on a machine that ran at its own speed.",
    "emulated": "Recorded under emulation: the order of events is real, their rates are not. Time axes and time "
    "averages are in emulated seconds, and nothing here about rates or waiting is a finding.",
    "unknown": "Nobody recorded whether this machine ran at its own speed: read the order of events, not their rates.",
}

UNMEASURED = "below what anyone has measured"


def timing(case: Case) -> str:
    """What the capture's time stamps are good for."""
    return TIMING.get(case.capture["timing"], TIMING["unknown"])


def quality(case: Case) -> str:
    """How much was lost, in one sentence."""
    rows = [row for row in case.answers["data_quality"].records() if row["value"]]
    worst = [row for row in rows if row["severity"] in ("data_loss", "error")]
    notices = [f"{row['what']} {number(row['value'])}" for row in rows if row["severity"] == "notice"]
    noticed = f" Noticed: {listed(notices)}." if notices else ""
    lost, events = case.capture["lost_events"], case.capture["events"]
    if not worst and not lost:
        return f"The recorder knows of no lost event, and none was in error.{noticed}"
    parts = [f"{row['what']} {number(row['value'])}" for row in worst]
    text = f"The recorder lost {count(lost, 'event')} beside the {number(events)} kept" if lost else ""
    said = [part for part in (text, f"losses and errors: {listed(parts)}" if parts else "") if part]
    return f"{'; '.join(said)}.{noticed}"


def basis(case: Case) -> str:
    """Whose figures the scale uses, and whether they are of this architecture."""
    rows = case.answers["mapping_cost"].records()
    arch = rows[0]["mapping_cost_basis"].split(",")[0] if rows else ""
    scale = next(
        (row for row in case.answers["mapping_scale"].records() if (row["arch"], row["metric"]) == (arch, "time")), None
    )
    if scale is None:
        return "No difference in time was ever published for a whole workload, so no cost is given."
    text = (
        f"The scale: against an all-4K map, large pages saved {count(scale['measurements'], 'workload')} "
        f"{points(scale['low_pct'])} (low), {points(scale['median_pct'])} (median) and "
        f"{points(scale['high_pct'])} (high) of their time ({arch}, {scale['platforms']}; only significant "
        "improvements were listed)."
    )
    own = case.capture["arch"]
    if own != arch:
        own_text = own or "of unknown architecture"
        text += f" This recording is {own_text}, and the scale is another architecture's: " + (
            "for x86_64 nobody has published a difference in time for whole workloads, only which page size was "
            "fastest in how many of 259 tests (1G 45 %, 2M about 30 %, 4K about 20 %)."
            if own == "x86_64"
            else "nobody has published a difference in time for this one."
        )
    return text


def mapping(case: Case) -> list[str]:
    """For every strategy, its share at 4K and the cost on the published scale."""
    said = []
    for row in case.answers["mapping_cost"].records():
        share = row["pte_share_mean"]
        if share is None:
            said.append(f"**{row['strategy']}**: {case.missing(row['strategy'], 'pte_share_mean')}.")
            continue
        text = f"**{row['strategy']}**: `pte_share` of {percent(share)} (time mean)"
        if share < MEASURED_FROM:
            text += f", {UNMEASURED}"
        else:
            text += (
                f", on the scale {points(row['mapping_cost_pct_low'])} / {points(row['mapping_cost_pct_median'])} / "
                f"{points(row['mapping_cost_pct_high'])} (low / median / high)"
            )
        said.append(text + ".")
    return said


def mapping_short(case: Case) -> str:
    """One sentence on the mapping cost of all strategies, for the caption of the figure."""
    rows = [row for row in case.answers["mapping_cost"].records() if row["pte_share_mean"] is not None]
    below = [row["strategy"] for row in rows if row["pte_share_mean"] < MEASURED_FROM]
    above = [row for row in rows if row["pte_share_mean"] >= MEASURED_FROM]
    text = [f"{row['strategy']} {points(row['mapping_cost_pct_median'])}" for row in above]
    parts = []
    if len(text) > 1 and not below and len({row["mapping_cost_pct_median"] for row in above}) == 1:
        text = [f"{points(above[0]['mapping_cost_pct_median'])} for every strategy"]
    if text:
        parts.append(f"At the median of the published scale: {listed(text)}")
    if below:
        parts.append(f"{UNMEASURED} (`pte_share` under 1 %): {listed(below)}")
    joined = "; ".join(parts)
    return joined[:1].upper() + joined[1:] + "." if joined else "No strategy has a `pte_share`."
