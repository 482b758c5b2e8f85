"""pyarrow, without pandas: pyarrow looks for it at its first array, which takes a quarter of a second."""

import sys
from typing import Any

import pyarrow as pa

__all__ = ["pa"]


class _WithoutPandas:
    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


if "pandas" not in sys.modules:
    sys.meta_path.insert(0, _WithoutPandas)
    pa.array([])
    sys.meta_path.remove(_WithoutPandas)
