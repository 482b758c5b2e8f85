"""The exact start: the lists of a machine, written down as the recorder reads them, make the same machine again."""

import numpy as np
import pyarrow as pa
import pytest

from ptpool.vocabulary import ISOLATE, MIGRATETYPES
from ptpool.warehouse import capture_row
from replay.demand.demand import load_demand
from replay.kernel.lists import NEXT
from replay.kernel.mmzone import FREE, ON_PCP, PCP_COUNT, PCPTYPES, TYPES, free_list, pcp_list, pcp_lists
from replay.start.recorded_machine import drawn, read_machine

ZONES = ((0, "DMA"), (0, "DMA32"))


def entries(a, head):
    page = int(a.link[head, NEXT])
    while page != head:
        yield page
        page = int(a.link[page, NEXT])


def lists_of(a):
    """Rows (node, zone, cpu, migratetype, order, first pfn) of every list of an allocator, in order."""
    cpus = len(a.node_of_cpu)
    for place, zone in enumerate(ZONES):
        for order in range(a.max_order + 1):
            for kind in range(TYPES):
                for page in entries(a, free_list(a, place, order, kind)):
                    yield (*zone, None, MIGRATETYPES[kind], order, page)
        for cpu in range(cpus):
            for pindex in range(pcp_lists(a.features)):
                order, kind = divmod(pindex, PCPTYPES)
                for page in entries(a, pcp_list(a, place * cpus + cpu, pindex)):
                    yield (*zone, cpu, MIGRATETYPES[kind], min(order, 9), page)


def write_lists(connection, capture_id, a):
    rows = [(place, *row) for place, row in enumerate(lists_of(a))]
    names = ("place", "node", "zone", "cpu", "migratetype", "page_order", "first_pfn")
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    connection.register("rows", table)
    connection.execute(
        f"INSERT INTO free_list BY NAME SELECT '{capture_id}' AS capture_id, 'before' AS moment, * FROM rows"
    )
    for block, kind in enumerate(a.block_type.tolist()):
        run = [block << a.pageblock_order, (block + 1 << a.pageblock_order) - 1, MIGRATETYPES[kind]]
        connection.execute("INSERT INTO pageblock_type VALUES (?, 'before', ?, ?, ?)", [capture_id, *run])


@pytest.fixture
def capture(connection):
    return capture_row(connection, "sharedmem-frag-1g")


def test_the_lists_of_a_machine_make_the_same_machine(connection, capture):
    demand = load_demand(connection, capture)
    was = drawn(read_machine(connection, capture, demand), demand, 3).allocator
    write_lists(connection, capture["capture_id"], was)
    recorded = read_machine(connection, capture, demand)
    assert recorded.exact
    a = recorded.state.allocator
    assert drawn(recorded, demand, 4) is recorded.state
    for name in ("link", "order", "block_type", "nr_free", "free_pages"):
        assert (getattr(a, name) == getattr(was, name)).all(), name
    assert (a.pcp[:, PCP_COUNT] == was.pcp[:, PCP_COUNT]).all()
    for kind in (FREE, ON_PCP):
        assert ((a.kind == kind) == (was.kind == kind)).all()
    assert not read_machine(connection, capture, demand, with_lists=False).exact


def test_a_page_that_kpageflags_shows_otherwise_is_as_the_lists_say(connection, capture):
    demand = load_demand(connection, capture)
    was = read_machine(connection, capture, demand).state.allocator
    write_lists(connection, capture["capture_id"], was)
    free = int(np.flatnonzero((was.kind == FREE) & (was.order == 0))[0])
    used = int(np.flatnonzero(was.kind > ON_PCP)[-1])
    connection.execute("DELETE FROM free_list WHERE first_pfn = ? AND page_order = 0", [free])
    last = connection.execute("SELECT max(place) + 1 FROM free_list").fetchone()[0]
    isolated = MIGRATETYPES[ISOLATE]
    connection.execute(
        "INSERT INTO free_list VALUES (?, 'before', ?, 0, 'DMA32', NULL, ?, 0, ?)",
        [capture["capture_id"], last, isolated, used],
    )
    a = read_machine(connection, capture, demand).state.allocator
    assert a.kind[free] > ON_PCP
    assert a.kind[used] == FREE
    assert a.free_pages.sum() == was.free_pages.sum() - 1  # an isolated page does not count as free


def test_lists_without_page_flags_are_not_used_and_that_is_said(connection, capture):
    demand = load_demand(connection, capture)
    write_lists(connection, capture["capture_id"], read_machine(connection, capture, demand).state.allocator)
    connection.execute("DELETE FROM page_flags")
    recorded = read_machine(connection, capture, demand)
    assert not recorded.exact
    assert any("free lists are not used" in line for line in recorded.state.assumptions)
