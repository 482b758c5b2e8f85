"""What `replay risk` refuses."""

import pytest

from ptpool.cli import run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["risk", "--capture", "x", "--fragmentation", "sever"], "--fragmentation sever"),
        (["risk", "--capture", "x", "--reclaim", "some"], "--reclaim some"),
        (["risk", "--capture", "x", "--strategy", "oracle"], "a bound has nothing that could fail"),
        (["risk", "--capture", "x"], "no such warehouse\n  import a trace first"),
    ],
)
def test_bad_input_is_said_in_plain_lines(arguments, said, tmp_path, capsys):
    assert run(["replay", *arguments, "--db", str(tmp_path / "none.duckdb")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) <= 3
    assert not list(tmp_path.iterdir())
