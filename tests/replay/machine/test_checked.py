"""Compiled code stays inside its arrays: it checks no index itself, so it runs as plain Python on arrays that do."""

import os
import subprocess
import sys
from pathlib import Path

import checked_arrays
import numpy as np
import pytest


@pytest.mark.slow  # 5 s of one CPU; the same with NUMBA_BOUNDSCHECK=1 takes more than a minute to compile
def test_no_index_is_outside_its_array(tmp_path):
    places = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": places}
    program = Path(checked_arrays.__file__)
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("63 runs, ")


@pytest.mark.parametrize("place", [-1, 4, (0, -1), (4, 0), (0, 2)])
def test_a_checked_array_refuses_what_numpy_or_compiled_code_would_take(place):
    array = np.zeros((4, 2), np.uint8).view(checked_arrays.Checked)
    with pytest.raises(IndexError):
        array[place]
    with pytest.raises(IndexError):
        array[place] = 1
    assert array[3, 1] == 0
