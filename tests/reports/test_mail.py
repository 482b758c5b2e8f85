"""The report as a mail."""

import json
import re
from pathlib import Path

import pytest

from ptpool.cli import run
from ptpool.warehouse import open_warehouse
from reports.mail import mail


@pytest.mark.parametrize("name", ["server", "phone"])
def test_mail_fits_and_is_plain(warehouse: Path, name: str) -> None:
    with open_warehouse(warehouse) as connection:
        text = mail(connection, name)
    assert max(map(len, text.splitlines())) <= 76
    assert text.isascii()
    assert re.search(r"^strategy +splits .* failed$", text, re.M)  # one table, one row per strategy
    assert len(re.findall(r"^pba  +", text, re.M)) == 1
    assert text.count("> ") == 5  # the questions of the thread
    assert "] no page flags: 800 page tables alive" in text


def test_text_command_as_json(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "text", "--db", str(warehouse), "--json"]) == 0
    assert [entry["capture"] for entry in json.loads(capsys.readouterr().out)] == ["phone", "server"]
