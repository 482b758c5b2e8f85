"""Bundles of tests/ingest/inputs: what people have that ptpool once got wrong, each beside its right answer."""

import shutil
from pathlib import Path

INPUTS = Path(__file__).parents[1] / "ingest" / "inputs"


def bundle_of(case: str, folder: Path) -> Path:
    """A case as a bundle in `folder`: its own files, and those of base/ that its file BASE names."""
    own, bundle = INPUTS / case, folder / case
    names = (own / "BASE").read_text().split() if (own / "BASE").is_file() else []
    shutil.copytree(own, bundle, ignore=shutil.ignore_patterns("README", "BASE"))
    for name in names:
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(INPUTS / "base" / name, bundle / name)
    return bundle
