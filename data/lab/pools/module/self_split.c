// SPDX-License-Identifier: GPL-2.0
/* The large page that is converted supplies the tables for its own split. replay/strategies/self_split.py */
#include "pools.h"

static int refill(struct page **served)
{
	struct page *page;
	int order, done;

	refill_starts();
	page = ptpools_first_free(p.refill_orders, p.refill_orders_count, &order);
	done = key_and_give(page, order);
	refill_ends();
	return done;
}

static int outside(unsigned long addr, int pages)
{
	while (READ_ONCE(cached) < tables_needed(addr, pages))
		if (!refill(NULL))
			return -ENOMEM;
	return 0;
}

const struct strategy self_split = {
	.name = "self-split",
	.parameters = "refill_orders=9",
	.tables = OWN,
	.pooled = true,
	.refill = refill,
	.outside = outside,
};
