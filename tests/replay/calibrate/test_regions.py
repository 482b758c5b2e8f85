"""Memory in small and in huge pages, and what the kernel really mapped it in."""

import pytest

from replay.calibrate import regions

SMAPS = """7f0000000000-7f0000400000 rw-p 00000000 00:00 0
Size:               4096 kB
AnonHugePages:      2048 kB
Private_Hugetlb:       0 kB
7f0000400000-7f0000800000 rw-p 00000000 00:00 0
AnonHugePages:         0 kB
Private_Hugetlb:    4096 kB
7f0000800000-7f0000c00000 rw-p 00000000 00:00 0
AnonHugePages:      4096 kB
"""


@pytest.mark.parametrize(("start", "size", "huge"), [(0, 4, 2), (0, 8, 6), (4, 4, 4), (6, 8, 8), (12, 4, 0)])
def test_what_memory_is_really_mapped_in(start, size, huge):
    assert regions.huge_bytes(SMAPS, 0x7F0000000000 + (start << 20), size << 20) == huge << 20


def test_small_pages_are_small_here():
    kind = regions.kinds()[0]
    words, share = regions.region(kind, 1 << 21)
    assert (kind.how, words.nbytes, words.any(), share) == ("small", 1 << 21, False, 1.0)


@pytest.mark.skipif("madvise" not in {kind.how for kind in regions.kinds()}, reason="no transparent huge pages")
def test_huge_pages_begin_where_one_can():
    (kind,) = (kind for kind in regions.kinds() if kind.how == "madvise")
    words, share = regions.region(kind, 2 * kind.page)
    assert words.ctypes.data % kind.page == 0 and words.nbytes == 2 * kind.page
    assert 0 <= share <= 1  # the kernel may refuse them, and then says so
