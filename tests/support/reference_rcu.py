"""Frees after RCU grace periods, slowly: one list of grace periods, grown as tables begin to wait."""

FREE, ALLOC = 1, 0


def when_freed(queued, grace):
    """When tables that begin to wait at these times are freed: at the end of the first period begun since."""
    periods, freed = [], []
    for now in queued:
        while not any(begin >= now for begin in periods):
            under_way = [begin for begin in periods if begin < now < begin + grace]
            periods.append(under_way[-1] + grace if under_way else now)
        freed.append(min(begin for begin in periods if begin >= now) + grace)
    return freed


def lifetimes(events, put_off, grace, last):
    """When each allocated page is freed, by the place of its allocation (None: a page in use at the start).

    Args:
        events: rows (time, is it a free, page), in order of time.
        put_off: for each event, whether it is a free that waits for a grace period.
        grace: ns.
        last: what would be freed later never is.
    """
    waiting = [ts for (ts, _, _), waits in zip(events, put_off, strict=True) if waits]
    due = iter(when_freed(waiting, grace))
    owner, ended = {}, {}
    for place, ((ts, is_free, page), waits) in enumerate(zip(events, put_off, strict=True)):
        if is_free:
            end = next(due) if waits else ts
            if end <= last:
                ended[owner.pop(page, ("start", page))] = end
            else:
                owner.pop(page, None)
        else:
            owner[page] = ("event", place)
    return ended
