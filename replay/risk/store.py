"""What `ptpool replay risk` and `ptpool replay exhaust` find, into the warehouse, in the place of what was there."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import duckdb

from ptpool.warehouse import transaction
from replay.contract.strategy import Strategy
from replay.risk.estimate import failing_only, wilson
from replay.risk.search import STEPS, Draw, Found, headroom

Setting = tuple[str, str, str]
"""Capture's id, machine, and reclaim variant."""


def parameters_of(strategy: Strategy) -> str:
    """All parameters as JSON."""
    return json.dumps(asdict(strategy), sort_keys=True)


def write_risk(
    connection: duckdb.DuckDBPyConnection,
    setting: Setting,
    fragmentation: str,
    names: Sequence[str],
    draws: Sequence[tuple[Draw, Found]],
) -> None:
    """The draws of one variant and fragmentation: thresholds, and the curve of every strategy.

    Args:
        connection: a warehouse open for writing.
        setting: what was replayed.
        fragmentation: of the draws.
        names: of the strategies, in their order.
        draws: at least one, ascending by seed.
    """
    curves, thresholds = [], []
    strategies = draws[0][0].strategies
    unprotected = [found.thresholds[0] for _, found in draws]
    steps = range(
        min(min(found.thresholds) for _, found in draws) - STEPS // 4,
        min(max(max(found.thresholds) for _, found in draws) + STEPS // 4, max(found.most for _, found in draws)) + 1,
    )
    built = [index for _, found in draws for index in found.indices.values()]
    indices = [_mean([index[place] for index in built]) for place in range(3)]
    for place, (name, strategy) in enumerate(zip(names, strategies, strict=True)):
        key = [setting[0], name, parameters_of(strategy), *setting[1:], fragmentation]
        mine = [found.thresholds[place] for _, found in draws]
        for step in steps:
            only, others = failing_only(mine, unprotected, step)
            excess = _mean([excess_stalls(found, place, step) for _, found in draws])
            curves.append([*key, headroom(step), *indices, len(draws), only, others, *wilson(only, len(draws)), excess])
        thresholds += [[*key, draw.seed, *_threshold(found, place)] for draw, found in draws]
    with transaction(connection):
        for table, rows in (("risk", curves), ("risk_threshold", thresholds)):
            _replace(connection, table, rows, 6)


def write_exhaustion(connection: duckdb.DuckDBPyConnection, rows: list[list[Any]]) -> None:
    """Rows of table exhaustion."""
    with transaction(connection):
        _replace(connection, "exhaustion", rows, 5)


def excess_stalls(found: Found, place: int, step: int) -> float | None:
    """Stalls of a strategy over those of the first one at this step, per million allocations; None if one fails."""
    outcomes = {tried.strategy: tried.outcome for tried in found.tried if tried.step == step}
    if place not in outcomes or 0 not in outcomes or outcomes[place].failed or outcomes[0].failed:
        return None
    return (outcomes[place].stalls - outcomes[0].stalls) * 1e6 / max(outcomes[0].allocations, 1)


def _threshold(found: Found, place: int) -> list[Any]:
    step = found.thresholds[place]
    mine = [tried for tried in found.tried if tried.strategy == place]
    extra = [tried for tried in mine if tried.extra]
    below = next((tried.outcome for tried in mine if tried.step == step - 1), None)
    return [
        headroom(step),
        step > found.most,
        below and below.failed,
        below.page_order if below else None,
        excess_stalls(found, place, step),
        len(mine) - len(extra),
        len(extra),
        sum((tried.outcome.failed is None) != (tried.step >= step) for tried in extra),
    ]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _replace(connection: duckdb.DuckDBPyConnection, table: str, rows: list[list[Any]], key: int) -> None:
    """Insert rows whose first `key` columns say what they are about, after deleting what was there about it."""
    columns = [name for name, *_ in connection.execute(f"DESCRIBE {table}").fetchall()]
    same = " AND ".join(f"{name} = ?{'::JSON' * (name == 'params')}" for name in columns[:key])
    for about in {tuple(row[:key]) for row in rows}:
        connection.execute(f"DELETE FROM {table} WHERE {same}", list(about))
    connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows)
