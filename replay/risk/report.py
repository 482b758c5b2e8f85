"""What `ptpool replay risk` and `ptpool replay exhaust` print: read back from the warehouse."""

import json
from typing import Any

import duckdb

from replay.reclaim import variants
from replay.registry import strategies
from replay.risk.estimate import Median, median, sooner

Table = tuple[list[str], list[tuple[Any, ...]]]
ORDERS = (0, 2, 9)
_POOL = "full-reserve pgd=bypass refill_orders={}"
"""The pool that differs in the order of its refills only."""
_COLUMNS = [
    "fragmentation",
    "reclaim",
    "strategy",
    "headroom",
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
                    f"{_over(draws)}{middle.value:.2f}",
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
            parts = [f"order {order} {_range(draws)}" for order, draws in pools.items() if draws]
            if len(parts) == len(ORDERS):
                lines.append(
                    f"{fragmentation}, reclaim {reclaim}: half of the machines fail below this headroom, with refills "
                    f"of {', '.join(parts)}; unprotected {_range(by_strategy['unprotected'])}."
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


def exhaustion_rows(connection: duckdb.DuckDBPyConnection, capture_id: str, machine: str) -> Table:
    """A row a variant and strategy: copies until it fails, and when it fails with as many as unprotected takes."""
    rows = connection.execute(
        """WITH tried AS (FROM exhaustion WHERE capture_id = $capture AND machine = $machine),
                least AS (
                    SELECT reclaim, strategy, params, seed, min(copies) FILTER (failure IS NOT NULL) AS copies,
                           max(copies) AS most
                    FROM tried GROUP BY ALL),
                common AS (
                    SELECT reclaim, seed, min(copies) AS copies FROM least WHERE strategy = 'unprotected' GROUP BY ALL)
           SELECT reclaim, strategy, params::VARCHAR,
                  min(least.copies), max(least.copies), count(least.copies), count(*),
                  mode(first.failure || ' order ' || first.page_order), median(common.copies),
                  round(median(timed.t_ns) / 1e9, 3)
           FROM least LEFT JOIN tried AS first USING (reclaim, strategy, params, seed, copies)
                LEFT JOIN common USING (reclaim, seed)
                LEFT JOIN tried AS timed ON timed.reclaim = least.reclaim AND timed.strategy = least.strategy
                     AND timed.params = least.params AND timed.seed = least.seed AND timed.copies = common.copies
           GROUP BY ALL ORDER BY reclaim, 4 NULLS LAST, strategy""",
        {"capture": capture_id, "machine": machine},
    ).fetchall()
    columns = ["reclaim", "strategy", "copies", "copies_most", "seeds_failing", "seeds", "first_failure"]
    columns += ["copies_unprotected", "seconds_then"]
    return columns, [(reclaim, label(name, params), *rest) for reclaim, name, params, *rest in rows]


def _middle(draws: list[tuple[Any, ...]]) -> Median:
    return median([row[1] for row in draws])


def _over(draws: list[tuple[Any, ...]]) -> str:
    """Before a median that is only known to be larger than anything tried."""
    return "> " if any(row[7] and row[1] == _middle(draws).value for row in draws) else ""


def _range(draws: list[tuple[Any, ...]]) -> str:
    middle = _middle(draws)
    ends = "" if middle.low is None else f" ({middle.low:.2f} to {middle.high:.2f})"
    return f"{_over(draws)}{middle.value:.2f}{ends}"


def _usual(values: list[str]) -> str | None:
    return max(sorted(set(values)), key=values.count) if values else None


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
