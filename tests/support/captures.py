"""Where the recordings lie that tests read: the samples, and those that are only tests' inputs."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def folder_of(name: str) -> Path:
    """Folder of a recording."""
    return next(path for path in (ROOT / "data/captures" / name, ROOT / "tests/data" / name) if path.is_dir())
