"""Where the fields of samples lie, by the attributes of their events.

The order of fields is that of kernel/events/core.c:perf_output_sample, of those after other records that of
__perf_event__output_id_sample. Fields after the raw data (branch stack, registers, user stack, weight, ...) say
nothing about page allocation and are skipped by the record's size.
"""

from ingest.formats.perf_data.header import Attribute

# enum perf_event_sample_format (include/uapi/linux/perf_event.h)
IP, TID, TIME, ADDR, READ, CALLCHAIN, ID, CPU, PERIOD, STREAM_ID, RAW = (1 << bit for bit in range(11))
IDENTIFIER = 1 << 16
FIXED = (IDENTIFIER, IP, TID, TIME, ADDR, ID, STREAM_ID, CPU, PERIOD)  # in the order of a sample
TRAILER = (TID, TIME, ID, STREAM_ID, CPU, IDENTIFIER)  # in the order after another record
TYPE_TRACEPOINT = 2
HEADER_SIZE = 8

# Columns of a layout: offsets from the start of a record; 0: the field is not there.
(
    L_TRACEPOINT,  # 1: raw data is a trace event's
    L_TID,
    L_TIME,
    L_CPU,
    L_PERIOD,
    L_REST,  # end of the fields of fixed length
    L_READ,  # read_format; -1: no counts
    L_CHAIN,  # 1: a call chain follows
    L_RAW,  # 1: raw data follows
    L_BACK_TIME,  # from the end of a record that is no sample
    L_BACK_CPU,
    L_BACK_ID,
) = range(12)
COLUMNS = 12


def layout_of(attribute: Attribute) -> list[int]:
    """The layout of an attribute's samples, and of the fields after other records."""
    row = [0] * COLUMNS
    kind = attribute.sample_type
    at = HEADER_SIZE
    for bit in FIXED:
        if kind & bit:
            if bit in (TID, TIME, CPU, PERIOD):
                row[{TID: L_TID, TIME: L_TIME, CPU: L_CPU, PERIOD: L_PERIOD}[bit]] = at
            at += 8
    row[L_REST] = at
    row[L_READ] = attribute.read_format & 31 if kind & READ else -1
    row[L_CHAIN], row[L_RAW] = int(bool(kind & CALLCHAIN)), int(bool(kind & RAW))
    row[L_TRACEPOINT] = int(attribute.type == TYPE_TRACEPOINT)
    if attribute.sample_id_all:
        back = 0
        for bit in reversed(TRAILER):
            if kind & bit:
                back += 8
                if bit in (TIME, CPU):
                    row[L_BACK_TIME if bit == TIME else L_BACK_CPU] = back
                elif bit in (ID, IDENTIFIER) and not row[L_BACK_ID]:
                    row[L_BACK_ID] = back
    return row


def id_place(sample_type: int) -> int:
    """Where a sample has the id of its event: offset from its start; 0: nowhere."""
    if sample_type & IDENTIFIER:
        return HEADER_SIZE
    if not sample_type & ID:
        return 0
    return HEADER_SIZE + 8 * sum(1 for bit in (IP, TID, TIME, ADDR) if sample_type & bit)
