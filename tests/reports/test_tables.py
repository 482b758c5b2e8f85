"""Tables: why a metric is missing."""

from pathlib import Path

from ptpool.warehouse import open_warehouse
from reports.case import load_case
from reports.tables import table


def test_null_metrics_say_why(warehouse: Path) -> None:
    with open_warehouse(warehouse) as connection:
        case = load_case(connection, "server")
        assert "n/a" in table(case.answers["conversion"], case).markdown
        assert "not measured" in table(case.answers["mapping_cost"], case).markdown
