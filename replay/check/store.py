"""Table strategy_check: what searches found replaces what an older version found of the same."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ptpool.provenance import code_version
from ptpool.warehouse import open_warehouse, transaction
from replay.check.search import MOST_STATES, Scenario, Verdict
from replay.check.searches import Checked
from replay.contract.strategy import Strategy, parameters_json


class Kept:
    """Verdicts in a warehouse; without one, nothing is kept."""

    def __init__(self, db: Path | None, changed: Collection[str]) -> None:
        """Read what this version of ptpool found before.

        Args:
            db: the warehouse, made if there is none; None: nothing is kept.
            changed: strategies of which a parameter is not the default.
        """
        self._db, self._changed = db, changed
        self._found: dict[tuple[Any, ...], Verdict] = {}
        if db is None:
            return
        with open_warehouse(db, write=True) as connection:
            rows = connection.execute(
                """SELECT strategy, params, tasks, outside_tables, depth, states, complete, coalesce(kind, ''), way
                   FROM strategy_check WHERE code_version = ?""",
                [code_version()],
            ).fetchall()
        for strategy, params, tasks, outside, depth, states, complete, kind, way in rows:
            verdict = Verdict(Scenario(tasks, outside), states, depth, complete, kind, tuple(way))
            self._found[strategy, params, verdict.scenario] = verdict

    def verdict(self, name: str, strategy: Strategy, scenario: Scenario, depth: int) -> Verdict | None:
        """What a search up to `depth` steps would find, if it is known."""
        found = self._found.get((name, parameters_json(strategy), scenario))
        if found is None:
            return None
        whole = found.complete or found.states > MOST_STATES or found.depth == depth
        return found if whole or 0 < len(found.steps) - 1 <= depth else None

    def write(self, strategies: Sequence[tuple[str, Strategy]], found: Sequence[Sequence[Checked]]) -> None:
        """Keep what was found."""
        if self._db is None:
            return
        rows = [
            [name, parameters_json(strategy), name not in self._changed, v.scenario.tasks, v.scenario.outside, v.depth,
             not v.kind, v.complete, v.kind or None, len(v.steps) - 1 if v.kind else None, list(v.steps), v.states,
             code_version()]
            for (name, strategy), items in zip(strategies, found, strict=True)
            for v in (item.verdict for item in items)
        ]  # fmt: skip
        with open_warehouse(self._db, write=True) as connection, transaction(connection):
            connection.executemany(
                "DELETE FROM strategy_check WHERE strategy = ? AND params = ? AND tasks = ? AND outside_tables = ?",
                [[*row[:2], *row[3:5]] for row in rows],
            )
            connection.executemany(f"INSERT INTO strategy_check VALUES ({', '.join('?' * 13)})", rows)
