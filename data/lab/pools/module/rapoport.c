// SPDX-License-Identifier: GPL-2.0
/*
 * Two caches by Mike Rapoport: a private buddy of memory that was converted when it came (unmapped-alloc, 2023), and pages
 * mapped at 4K whose users set the permission (pte-cache, 2021). The direct map's own tables are ordinary pages.
 * replay/strategies/unmapped_alloc.py, pte_cache.py
 */
#include "pools.h"

static struct chunk chunks[BLOCK];
static DEFINE_MUTEX(scans);

static int refill_buddy(struct page **served)
{
	int orders[BLOCK_ORDER + 1], order, done;
	struct page *page;

	for (int i = 0; i <= p.block_order; i++)
		orders[i] = p.block_order - i;
	refill_starts();
	page = ptpools_first_free(orders, p.block_order + 1, &order);
	done = key_and_give(page, order);
	refill_ends();
	return done;
}

/* The smallest chunks first, without a flush. */
static unsigned long shrink_buddy(void)
{
	unsigned long freed = 0;
	int count;

	if (!mutex_trylock(&scans))
		return 0;
	count = idle_chunks(chunks, BLOCK, false);
	for (int i = 0; i < count && freed < p.shrink_batch; i++)
		if (withdraw(chunks[i].pfn, chunks[i].order))
			freed += give_back(chunks + i, 1, false);
	mutex_unlock(&scans);
	return freed;
}

/* A block, or a page and the claim to its neighbours: the whole pageblock is mapped with 4K pages and marked. */
static int refill_cache(struct page **served)
{
	struct page *page;
	int order, error;
	unsigned long first;
	struct change *c;

	refill_starts();
	page = ptpools_first_free(p.refill_orders, p.refill_orders_count, &order);
	refill_ends();
	if (!page)
		return 0;
	first = page_to_pfn(page) & ~(BLOCK - 1);
	c = enter(true);
	error = set_memory_4k((unsigned long)pfn_to_kaddr(first), BLOCK);
	leave(c);
	if (error) {
		free_chunk(page, order);
		return 0;
	}
	give(page_to_pfn(page), 1ul << order, 0);
	set_bit(block_of(first), marked);
	return 1;
}

/* Idle pages go back as they are: they have no key. */
static unsigned long shrink_cache(void)
{
	unsigned long freed = 0, block;
	int limit = min_t(long, p.shrink_batch, BLOCK), count = 0;

	if (!mutex_trylock(&scans))
		return 0;
	for (block = 0; block <= block_of(frames) && count < limit; block++)
		if (idle_in_block(block))
			count += block_idle(block, chunks + count, limit - count);
	for (int i = 0; i < count; i++)
		if (withdraw(chunks[i].pfn, 0)) {
			free_chunk(pfn_to_page(chunks[i].pfn), 0);
			freed++;
		}
	mutex_unlock(&scans);
	return freed;
}

const struct strategy unmapped_alloc = {
	.name = "unmapped-alloc",
	.parameters = "block_order=9 shrink_batch=128",
	.tables = BUDDY,
	.pooled = true,
	.merges = true,
	.refill = refill_buddy,
	.shrink = shrink_buddy,
	.batch = 128,
};

const struct strategy pte_cache = {
	.name = "pte-cache",
	.parameters = "refill_orders=9-0 shrink_batch=128",
	.tables = BUDDY,
	.pooled = true,
	.key_each = true,
	.adopts = true,
	.refill = refill_cache,
	.shrink = shrink_cache,
	.batch = 128,
};
