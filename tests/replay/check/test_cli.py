"""The command `replay check`."""

from ptpool.cli import run


def test_strategies_are_named_as_elsewhere(capsys):
    for arguments in (["self-split"], ["--strategy", "self-split"], ["--strategy", "self-split,self-split"]):
        assert run(["replay", "check", *arguments, "--cpus", "1", "--depth", "1"]) == 0
        out, error = capsys.readouterr()
        assert "self-split" in out
        assert "1 strategies" in error
    assert run(["replay", "check", "--strategy", "nope"]) == 2
    assert "no strategy named nope" in capsys.readouterr().err
