"""What runs at other settings show."""

import shutil
from pathlib import Path

from ptpool.warehouse import open_warehouse
from reports.case import load_case


def test_what_other_settings_change_is_said(warehouse: Path, tmp_path: Path) -> None:
    db = tmp_path / "w.duckdb"
    shutil.copy(warehouse, db)
    with open_warehouse(db, write=True) as connection:
        for seed, refills in ((1, 12), (2, 15)):
            connection.execute(
                "INSERT INTO run SELECT * REPLACE (run_id || ? AS run_id, false AS is_default, ? AS seed) FROM run "
                "WHERE run_id = 'id-of-phone/pba'",
                [str(seed), seed],
            )
            connection.execute(
                "INSERT INTO run_metric VALUES (?, 'refills', ?, 'refills')", [f"id-of-phone/pba{seed}", refills]
            )
        case = load_case(connection, "phone")
        (row,) = case.answers["sensitivity"].records()
        assert (row["changed"], row["runs"], row["by_default"], row["lowest"], row["highest"]) == (
            "seed",
            2,
            12,
            12,
            15,
        )
