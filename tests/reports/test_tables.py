"""Tables: why a metric is missing."""

from pathlib import Path

from ptpool.warehouse import open_warehouse
from reports.case import load_case
from reports.tables import table


def test_null_metrics_say_why(warehouse: Path) -> None:
    with open_warehouse(warehouse) as connection:
        case = load_case(connection, "server")
        assert case.missing("unprotected", "refills") == "n/a"
        assert case.missing("pba", "ptp_alloc_p99_ns") == "not modelled yet"
        assert "n/a" in table(case.answers["conversion"], case).markdown
        phone = load_case(connection, "phone")
        assert "not modelled yet" in table(phone.answers["mapping_weightings"], phone).markdown
