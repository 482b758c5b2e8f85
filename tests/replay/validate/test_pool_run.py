"""What is read of a run of the lab."""

import json
import shutil
from pathlib import Path

from replay.validate.pool_run import read_run

RUN = Path(__file__).parents[3] / "data" / "pools" / "pipes-pba"


def test_a_run_has_the_price_of_its_refills(tmp_path):
    said = json.loads((RUN / "run.json").read_text(encoding="utf-8"))
    assert read_run(RUN).refill_ns == said.pop("refill_ns") > 0
    run = shutil.copytree(RUN, tmp_path / RUN.name)
    (run / "run.json").write_text(json.dumps(said))
    assert read_run(run).refill_ns is None
