"""Strategies on captures that are repeated, all metrics on, against an LRU cache of libCacheSim on the same events."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from measure import CAPTURES, Row, median_s, tell

from ingest.bundle import find_bundle
from ingest.importer import import_capture
from ptpool.warehouse import capture_names, capture_row, open_warehouse
from replay.contract.registry import strategies
from replay.demand.demand import Demand, load_demand
from replay.demand.program import ALLOC, FREE_EVENT, MOVE, OUTSIDE_CHANGE, Program
from replay.runs.one_run import replay_one
from replay.start.recorded_machine import recorded_machine

TITLE = "Replay (set-up, warm-up, replay and results; median of 3; slow ones with fewer events)"
COLUMNS = ["capture", "strategy", "events", "seconds", "M events/s"]
EVENTS, SECONDS = 5_000_000, 5.0
ALL_STRATEGIES_ON = "server-16g"
EVERYWHERE = ("unprotected", "pte-mapped", "reserve-block", "pba", "buddy-reserve")

ORACLE_GENERAL = np.dtype([("ts", "<u4"), ("page", "<u8"), ("size", "<u4"), ("next_access", "<i8")])
"""libCacheSim's binary format, 24 bytes a request."""


def bench(folder: Path) -> list[Row]:
    """Every strategy on one capture, some on the others."""
    rows: list[Row] = []
    with open_warehouse(folder / "replay.duckdb", write=True) as connection:
        for name in ("sharedmem-8g", "sharedmem-frag-1g", "server-16g"):
            import_capture(connection, find_bundle([CAPTURES / name], None, None), quiet=True)
        for name in capture_names(connection):
            once = load_demand(connection, capture_row(connection, name))
            machine = recorded_machine(connection, capture_row(connection, name), once)
            for entry in strategies().values():
                if name != ALL_STRATEGIES_ON and entry.name not in EVERYWHERE:
                    continue
                work = partial(replay_one, machine, strategy=entry.factory())
                rate = len(once.program.op) / median_s(partial(work, once), 1, warm=True)
                demand = repeated(once, min(EVENTS, int(rate * SECONDS)))
                spent, events = median_s(partial(work, demand)), len(demand.program.op)
                rows.append((name, entry.name, events, spent, events / spent / 1e6))
                tell(f"{name}, {entry.name}: {events / spent / 1e6:.1f} M events/s")
            rows += libcachesim(name, repeated(once, EVENTS), folder)
    return rows


def libcachesim(name: str, demand: Demand, folder: Path) -> list[Row]:
    """The allocations and frees as requests for their page, to an LRU cache that holds half of the pages."""
    try:
        from libcachesim import LRU, TraceReader, TraceType
    except ImportError:
        tell("libcachesim is not there (pip install libcachesim): left out")
        return []
    program = demand.program
    requests = np.zeros(len(program.op), ORACLE_GENERAL)
    requests["ts"], requests["page"], requests["size"] = program.ts // 1_000_000_000, program.pfn, 1
    requests["next_access"] = -1
    path = folder / f"{name}.oracleGeneral.bin"
    requests.tofile(path)

    def work() -> None:
        LRU(demand.pages // 2).process_trace(TraceReader(str(path), TraceType.ORACLE_GENERAL_TRACE))

    spent = median_s(work, warm=True)
    tell(f"{name}, libCacheSim: {len(requests) / spent / 1e6:.1f} M events/s")
    return [(name, "(libCacheSim, LRU)", len(requests), spent, len(requests) / spent / 1e6)]


def repeated(demand: Demand, events: int) -> Demand:
    """The demand again and again, one after the other; what is alive at the end of a round is freed first."""
    program = demand.program
    stays = program.op != MOVE  # a move gives a page a name that only one round can have
    program = Program(*(column[stays] for column in program))
    alive = np.zeros(demand.pages, np.bool_)
    for op, pfn, order in zip(program.op, program.pfn, program.order, strict=True):
        if op != OUTSIDE_CHANGE:
            alive[pfn : pfn + (1 << int(order))] = op == ALLOC
    pages = np.flatnonzero(alive)
    closing = Program(
        op=np.full(len(pages), FREE_EVENT, np.uint8),
        ts=np.full(len(pages), demand.last_ns, np.int64),
        pfn=pages,
        order=np.zeros(len(pages), np.int8),
        migratetype=np.zeros(len(pages), np.uint8),
        context=np.zeros(len(pages), np.uint16),
        consumer=np.zeros(len(pages), np.uint8),
        cpu=np.zeros(len(pages), np.int16),
        task=np.zeros(len(pages), np.int32),
    )
    rounds = -(-events // (len(program.op) + len(pages)))
    span = demand.last_ns - demand.first_ns + 1
    columns = {}
    for field in Program._fields:
        one = np.concatenate([getattr(program, field), getattr(closing, field)])
        columns[field] = np.tile(one, rounds)
        if field == "ts":
            columns[field] += np.repeat(np.arange(rounds) * span, len(one))
    last = demand.first_ns + rounds * span
    return replace(demand, program=Program(**columns), last_ns=last)
