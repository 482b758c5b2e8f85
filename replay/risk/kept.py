"""Machines whose search has ended, kept as files next to the warehouse until the study is complete."""

import json
import shutil
from pathlib import Path
from typing import Any

from ptpool.files import write_whole
from ptpool.provenance import code_version, identity
from replay.contract.strategy import parameters_json
from replay.risk.search import Draw, Thresholds, Trial
from replay.risk.trial import Outcome


class KeptDraws:
    """The finished draws of one study; the same command finds them again.

    Args:
        db: the warehouse.
        capture_id: what is replayed.
        machine: the machine whose memory is filled.
        table_share: of page tables in what is allocated.
    """

    def __init__(self, db: Path, capture_id: str, machine: str, table_share: float) -> None:
        self._about: dict[str, Any] = {"capture_id": capture_id, "machine": machine, "code_version": code_version()}
        self._about["table_share"] = table_share
        self.folder = db.with_name(f"{db.name}.risk-{identity(8, **self._about)}.draws")

    def _path(self, draw: Draw) -> Path:
        strategies = [[type(each).__name__, parameters_json(each)] for each in draw.strategies]
        name = identity(**self._about, **draw._asdict() | {"strategies": strategies})
        return self.folder / f"{name}.json"

    def find(self, draw: Draw) -> Thresholds | None:
        """The result of this draw, if it is there and whole."""
        try:
            steps, most, trials, indices = json.loads(self._path(draw).read_text(encoding="utf-8"))
            made = [Trial(strategy, step, Outcome(*outcome), extra) for strategy, step, outcome, extra in trials]
            return Thresholds(steps, most, made, {int(step): tuple(index) for step, index in indices.items()})
        except (OSError, ValueError, TypeError):
            return None

    def keep(self, draw: Draw, found: Thresholds) -> None:
        """Write a result.

        Raises:
            UsageError: it cannot be written.
        """
        write_whole(self._path(draw), json.dumps(found).encode())

    def remove(self) -> None:
        """The study is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)
