// SPDX-License-Identifier: GPL-2.0
/*
 * Two keyed pages in reserve; a refill takes a 2M block, else four pages (reserve-block), else one (small-reserve).
 * replay/strategies/reserve_block.py, reserve_block_percpu.py, small_reserve.py
 */
#include "pools.h"

static DEFINE_MUTEX(pool_mutex);

static int refill_locked(void)
{
	const int orders[] = { p.block_order, p.last_order };
	struct page *page;
	int order, done;

	refill_starts();
	page = ptpools_first_free(orders, 2, &order);
	done = key_and_give(page, order);
	refill_ends();
	return done;
}

static int refill(struct page **served)
{
	int done;

	if (p.mutex)
		mutex_lock(&pool_mutex);
	done = refill_locked();
	if (p.mutex)
		mutex_unlock(&pool_mutex);
	return done;
}

static int boot(void)
{
	return refill_locked();
}

/* The tables of a change by others come on top of the reserve. Without the mutex nothing keeps them there. */
static int outside(unsigned long addr, int pages)
{
	if (p.mutex)
		mutex_lock(&pool_mutex);
	while (READ_ONCE(cached) < p.reserve + tables_needed(addr, pages))
		if (!refill_locked()) {
			if (p.mutex)
				mutex_unlock(&pool_mutex);
			return -ENOMEM;
		}
	return 0;
}

static void outside_done(void)
{
	if (p.mutex)
		mutex_unlock(&pool_mutex);
}

#define COMMON \
	.tables = POOL, .pooled = true, .boot = boot, .refill = refill, .outside = outside, .outside_done = outside_done

const struct strategy reserve_block = {
	.name = "reserve-block", .parameters = "reserve=2 block_order=9 last_order=2 mutex=0", COMMON
};

const struct strategy reserve_block_percpu = {
	.name = "reserve-block-percpu", .parameters = "reserve=2 block_order=9 last_order=2 mutex=0 magazine_order=2", COMMON
};

const struct strategy small_reserve = {
	.name = "small-reserve", .parameters = "reserve=2 block_order=9 last_order=0 mutex=0", COMMON
};
