"""What `ptpool replay risk` and `ptpool replay exhaust` print: read back from the warehouse."""

import json
from typing import Any

import duckdb

from replay.contract.registry import strategies
from replay.machine.reclaim import variants
from replay.risk.estimate import Median, median, sooner

ORDERS = (0, 2, 9)
_POOL = "full-reserve pgd=bypass refill_orders={}"
"""The pool that differs in the order of its refills only."""
_COLUMNS = [
    "fragmentation",
    "reclaim",
    "strategy",
    "headroom",
    "or_more",
    "low",
    "high",
    "times_unprotected",
    "fails_sooner",
    "first_failure",
    "excess_stalls_per_million",
    "seeds",
    "checked",
    "contradicted",
]


def label(strategy: str, params: str) -> str:
    """A strategy with the parameters that are not its defaults."""
    entry = strategies().get(strategy)
    default = json.loads(json.dumps(vars(entry.factory()))) if entry else {}
    changed = {name: value for name, value in json.loads(params).items() if default.get(name) != value}
    return " ".join([strategy, *(f"{name}={_shown(value)}" for name, value in sorted(changed.items()))])


def risk_rows(
    connection: duckdb.DuckDBPyConnection, capture_id: str, machine: str
) -> tuple[list[str], list[tuple[Any, ...]], list[str]]:
    """A row a fragmentation, variant and strategy, those that fail soonest first; and what to make of them."""
    found: dict[tuple[str, str], dict[str, list[tuple[Any, ...]]]] = {}
    for fragmentation, reclaim, strategy, params, *rest in connection.execute(
        """SELECT fragmentation, reclaim, strategy, params::VARCHAR, seed, headroom, failure, page_order,
                  excess_stalls_per_million, checked, contradicted, censored
           FROM risk_threshold WHERE capture_id = ? AND machine = ? ORDER BY ALL""",
        [capture_id, machine],
    ).fetchall():
        found.setdefault((fragmentation, reclaim), {}).setdefault(label(strategy, params), []).append(tuple(rest))
    rows = []
    for (fragmentation, reclaim), by_strategy in found.items():
        base = [row[1] for row in by_strategy["unprotected"]]
        for name, draws in sorted(by_strategy.items(), key=lambda item: (-_middle(item[1]).value, item[0])):
            middle = _middle(draws)
            excess = [row[4] for row in draws if row[4] is not None]
            mine = [row[1] for row in draws]
            rows.append(
                (
                    fragmentation,
                    reclaim,
                    name,
                    round(middle.value, 2),
                    bool(_over(draws)),
                    *(None if value is None else round(value, 2) for value in middle[1:]),
                    round(middle.value / median(base).value, 2),
                    {1: "yes", 0: "not seen", -1: "later"}[sooner(mine, base)] if len(mine) == len(base) else None,
                    _usual([f"{row[2]} order {row[3]}" for row in draws if row[2]]),
                    round(sum(excess) / len(excess)) if excess else None,
                    len(draws),
                    sum(row[5] for row in draws),
                    sum(row[6] for row in draws),
                )
            )
    return _COLUMNS, rows, _sentences(found)


def _sentences(found: dict[tuple[str, str], dict[str, list[tuple[Any, ...]]]]) -> list[str]:
    """The answer to the question of the mail, and what holds whatever reclaim can do."""
    lines = []
    for fragmentation in dict.fromkeys(kind for kind, _ in found):
        of_kind = {reclaim: draws for (kind, reclaim), draws in found.items() if kind == fragmentation}
        for reclaim, by_strategy in of_kind.items():
            pools = {order: by_strategy.get(_POOL.format(order)) for order in ORDERS}
            single = pools[0]
            if not single or not any(pools[order] for order in ORDERS[1:]):
                continue
            parts = [f"order {order} {_times(draws, single)}" for order, draws in pools.items() if order and draws]
            lines.append(
                f"{fragmentation}, reclaim {reclaim}: the same pool needs {_range(single)} with refills of order 0 "
                f"(unprotected {_range(by_strategy['unprotected'])}); times that, with refills of {', '.join(parts)}."
            )
        if set(of_kind) == set(variants()):
            worse = [name for name in next(iter(of_kind.values())) if _everywhere(of_kind, name)]
            said = ", ".join(worse) if worse else "none"
            lines.append(f"{fragmentation}: fail sooner than unprotected in all three variants of reclaim: {said}.")
    return lines


def _everywhere(of_kind: dict[str, dict[str, list[tuple[Any, ...]]]], name: str) -> bool:
    pairs = [(draws.get(name, []), draws["unprotected"]) for draws in of_kind.values()]
    return all(
        len(mine) == len(base) and sooner([row[1] for row in mine], [row[1] for row in base]) == 1
        for mine, base in pairs
    )


def exhaustion_rows(
    connection: duckdb.DuckDBPyConnection, capture_id: str, machine: str
) -> tuple[list[str], list[tuple[Any, ...]], list[str]]:
    """A row a variant and strategy: copies until it fails, and when it then does; and what to make of them.

    Ranges are over seeds. `then_low_s` and `then_high_s`: when it fails with as many copies as make `unprotected` fail.
    """
    rows = connection.execute(
        """WITH tried AS (FROM exhaustion WHERE capture_id = $capture AND machine = $machine),
                least AS (
                    SELECT reclaim, strategy, params, seed, min(copies) FILTER (failure IS NOT NULL) AS copies
                    FROM tried GROUP BY ALL),
                common AS (SELECT reclaim, seed, copies FROM least WHERE strategy = 'unprotected'),
                draw AS (
                    SELECT reclaim, strategy, params, seed, least.copies, common.copies AS unprotected,
                           any_value(failure || ' order ' || page_order) FILTER (tried.copies = least.copies) AS what,
                           any_value(t_ns) FILTER (tried.copies = least.copies) AS t_ns,
                           any_value(t_ns) FILTER (tried.copies = common.copies) AS then_ns,
                           count(*) FILTER (tried.copies > least.copies AND failure IS NULL) AS contradicted
                    FROM least JOIN tried USING (reclaim, strategy, params, seed) LEFT JOIN common USING (reclaim, seed)
                    GROUP BY ALL)
           SELECT reclaim, strategy, params::VARCHAR, count(*), count(copies), min(copies), max(copies),
                  mode(what), round(min(t_ns) / 1e9, 3), round(max(t_ns) / 1e9, 3),
                  round(min(then_ns) / 1e9, 3), round(max(then_ns) / 1e9, 3), sum(contradicted)::BIGINT,
                  CASE WHEN bool_and(coalesce(copies < unprotected, copies IS NOT NULL)) THEN -1
                       WHEN bool_and(coalesce(copies > unprotected, unprotected IS NOT NULL)) THEN 1 ELSE 0 END
           FROM draw GROUP BY reclaim, strategy, params
           ORDER BY reclaim, min(copies) NULLS LAST, strategy, params::VARCHAR""",
        {"capture": capture_id, "machine": machine},
    ).fetchall()
    columns = ["reclaim", "strategy", "seeds", "failing", "copies_low", "copies_high", "fails_with", "low_s", "high_s"]
    columns += ["then_low_s", "then_high_s", "contradicted", "clock"]
    ((clock,),) = connection.execute("SELECT timing FROM capture WHERE capture_id = ?", [capture_id]).fetchall()
    told = [(reclaim, label(name, params), *rest[:-1], clock) for reclaim, name, params, *rest in rows]
    than: dict[str, set[int]] = {}
    for _, name, params, *_, order in rows:
        than.setdefault(label(name, params), set()).add(order)
    than.pop("unprotected", None)
    return columns, told, _exhaustion_sentences(than, len({row[0] for row in rows}), clock)


def _exhaustion_sentences(than: dict[str, set[int]], variants_run: int, clock: str) -> list[str]:
    """Who takes fewer copies than unprotected (-1) or more (1) in every seed and variant, and what the seconds are."""
    where = "in every seed" + (" and variant of reclaim" if variants_run > 1 else "")
    lines = []
    for order, words in ((-1, "fewer"), (1, "more")):
        names = [name for name, orders in than.items() if orders == {order}]
        lines.append(f"Take {words} copies than unprotected to fail, {where}: {', '.join(names) or 'none'}.")
    if clock != "real":
        recorded = "under emulation" if clock == "emulated" else "by a clock of which nobody knows the rate"
        lines.append(
            f"Sensitivity, not a finding: this was recorded {recorded}, so the seconds, and how copies meet, are not "
            "those of a real machine."
        )
    return lines


def _middle(draws: list[tuple[Any, ...]]) -> Median:
    return median([row[1] for row in draws])


def _over(draws: list[tuple[Any, ...]]) -> str:
    """Before a median that is only known to be larger than anything tried."""
    return "> " if any(row[7] and row[1] == _middle(draws).value for row in draws) else ""


def _range(draws: list[tuple[Any, ...]]) -> str:
    middle = _middle(draws)
    ends = "" if middle.low is None else f" ({middle.low:.2f} to {middle.high:.2f})"
    return f"{_over(draws)}{middle.value:.2f}{ends}"


def _times(draws: list[tuple[Any, ...]], single: list[tuple[Any, ...]]) -> str:
    """Headroom over that of refills of order 0 on the same machine: median and range."""
    one = {row[0]: row[1] for row in single}
    ratios = [row[1] / one[row[0]] for row in draws if row[0] in one]
    over = "> " if any(row[7] for row in draws) else ""
    return f"{over}{median(ratios).value:.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "unknown"


def _usual(values: list[str]) -> str | None:
    return max(sorted(set(values)), key=values.count) if values else None


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
