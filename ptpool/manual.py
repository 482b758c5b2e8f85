"""The manual of the command line, from the help of the commands: every command, its options, defaults, examples."""

from enum import Enum
from typing import Any

import typer

from ptpool.text import markdown_table


def manual(app: typer.Typer) -> str:
    """``docs/commands.md``.

    Args:
        app: the root command.
    """
    root = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        "Generated from the help of each command (`make docs`). Results go to standard output, progress and remarks "
        "to standard error; `--json` prints results for programs. Exit status: 0 done, 1 a prediction or property does "
        "not hold, 2 unusable input or arguments, 130 interrupted. `ptpool --install-completion` adds completion of "
        "commands and options to the shell (bash, zsh, fish, PowerShell).",
        "",
    ]
    for path, command in commands(root, "ptpool"):
        lines += [f"## `{path}`", "", _as_markdown(f"{command.help}\n\n{command.epilog or ''}"), ""]
        rows = [row for parameter in command.params if (row := _row(parameter))]
        if rows:
            lines += [markdown_table(("argument or option", "default", "meaning"), rows), ""]
    return "\n".join(lines)


def commands(command: Any, path: str) -> list[tuple[str, Any]]:
    """Every command below `command` with the words that call it, sorted by name; groups are left out."""
    below = getattr(command, "commands", None)
    if below is None:
        return [(path, command)]
    return [found for name in sorted(below) for found in commands(below[name], f"{path} {name}")]


def _as_markdown(text: str | None) -> str:
    """A docstring as Markdown, with its example as code."""
    paragraphs = (text or "").replace("\f", "").strip().split("\n\n")
    return "\n\n".join(
        "```\n" + _example(paragraph) + "\n```" if paragraph.startswith("Example:") else paragraph
        for paragraph in paragraphs
    )


def _example(paragraph: str) -> str:
    return "\n".join(line.strip() for line in paragraph.removeprefix("Example:").strip().splitlines())


def _row(parameter: Any) -> tuple[str, str, str] | None:
    if parameter.name == "help" or parameter.hidden:
        return None
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
    else:
        value = "" if parameter.is_flag else f" {parameter.metavar or _values(parameter.type_descriptor.annotation)}"
        name = ", ".join([*parameter.opts, *parameter.secondary_opts]) + value
    default = parameter.default
    shown = "" if default in (None, False, (), "") or callable(default) else f"`{getattr(default, 'value', default)}`"
    meaning = " ".join((parameter.help or "").split())
    if getattr(parameter, "envvar", None):
        meaning += f" (environment: `{parameter.envvar}`)"
    return f"`{name}`", "required" if parameter.required else shown, meaning


_NAMES = {"str": "TEXT", "int": "INTEGER", "float": "FLOAT"}


def _values(annotation: Any) -> str:
    """What an option takes: its choices, or a word for its type."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(choice.value) for choice in annotation)
    name = getattr(annotation, "__name__", str(annotation))
    return _NAMES.get(name, name.upper())
