"""Tables risk and risk_threshold: results of `ptpool replay risk` replace those of the same setting."""

from collections.abc import Iterable, Sequence
from typing import Any

import duckdb

from ptpool.statistics import wilson
from ptpool.warehouse import transaction
from replay.contract.strategy import parameters_json
from replay.risk.search import STEPS, Draw, Thresholds, headroom

Where = tuple[str, str, float]
"""Capture's id, machine, and share of page tables in what is allocated."""

_KEY = ("capture_id", "strategy", "params", "machine", "table_share", "fragmentation", "holes", "reclaim")
"""Columns that say what a row is about, in their order in both tables."""


def write_risk(
    connection: duckdb.DuckDBPyConnection,
    where: Where,
    names: Sequence[str],
    draws: Sequence[tuple[Draw, Thresholds]],
) -> None:
    """Write the draws of one kind: thresholds, and the curve of every strategy.

    Args:
        connection: a warehouse open for writing.
        where: what was replayed.
        names: of the strategies, in their order in the draws.
        draws: at least one, ascending by seed.
    """
    curves, thresholds = [], []
    strategies = draws[0][0].strategies
    unprotected = [found.steps[0] for _, found in draws]
    steps = range(
        min(min(found.steps) for _, found in draws) - STEPS // 4,
        min(max(max(found.steps) for _, found in draws) + STEPS // 4, max(found.most for _, found in draws)) + 1,
    )
    built = [index for _, found in draws for index in found.indices.values()]
    indices = [_mean([index[place] for index in built]) for place in range(3)]
    for place, (name, strategy) in enumerate(zip(names, strategies, strict=True)):
        key = [where[0], name, parameters_json(strategy), *where[1:], *draws[0][0].kind]
        mine = [found.steps[place] for _, found in draws]
        for step in steps:
            only, others = failing_only(mine, unprotected, step)
            excess = _mean([excess_stalls(found, place, step) for _, found in draws])
            curves.append([*key, headroom(step), *indices, len(draws), only, others, *wilson(only, len(draws)), excess])
        thresholds += [[*key, draw.seed, *_threshold(found, place)] for draw, found in draws]
    with transaction(connection):
        for table, rows in (("risk", curves), ("risk_threshold", thresholds)):
            _replace(connection, table, rows)


def failing_only(thresholds: Sequence[int], unprotected: Sequence[int], step: int) -> tuple[int, int]:
    """Seeds in which a strategy fails at this step and unprotected does not; those in which unprotected does."""
    only = sum(theirs <= step < mine for mine, theirs in zip(thresholds, unprotected, strict=True))
    return only, sum(step < theirs for theirs in unprotected)


def excess_stalls(found: Thresholds, place: int, step: int) -> float | None:
    """Stalls beyond those of the first strategy at this step, per million allocations; None if one of the two fails."""
    outcomes = {trial.strategy: trial.outcome for trial in found.trials if trial.step == step}
    if place not in outcomes or 0 not in outcomes or outcomes[place].failed or outcomes[0].failed:
        return None
    return (outcomes[place].stalls - outcomes[0].stalls) * 1e6 / max(outcomes[0].allocations, 1)


def _threshold(found: Thresholds, place: int) -> list[Any]:
    step = found.steps[place]
    mine = [trial for trial in found.trials if trial.strategy == place]
    extra = [trial for trial in mine if trial.extra]
    below = next((trial.outcome for trial in mine if trial.step == step - 1), None)
    return [
        headroom(step),
        step > found.most,
        *found.indices.get(step, found.indices.get(step - 1, (None,) * 3)),
        below and below.failed,
        below.page_order if below else None,
        excess_stalls(found, place, step),
        len(mine) - len(extra),
        len(extra),
        sum((trial.outcome.failed is None) != (trial.step >= step) for trial in extra),
    ]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _replace(connection: duckdb.DuckDBPyConnection, table: str, rows: list[list[Any]]) -> None:
    """Insert rows, after deleting those about the same."""
    same = " AND ".join(f"{name} = ?{'::JSON' * (name == 'params')}" for name in _KEY)
    for about in {tuple(row[: len(_KEY)]) for row in rows}:
        connection.execute(f"DELETE FROM {table} WHERE {same}", list(about))
    connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
