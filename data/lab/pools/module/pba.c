// SPDX-License-Identifier: GPL-2.0
/* kpkeys v6: one list, refill orders 9, 4, 2 under a mutex, a reserve of 2 + 2 pages, a shrinker. replay/strategies/pba.py */
#include "pools.h"

static DEFINE_MUTEX(alloc_mutex);
static DEFINE_MUTEX(pgtable_split_lock);

static int refill_pages(void)
{
	struct page *page;
	unsigned long spent;
	int order, done = 0;

	refill_starts();
	page = ptpools_first_free(p.refill_orders, p.refill_orders_count, &order);
	if (page) {
		mutex_lock(&alloc_mutex);
		mutex_lock(&pgtable_split_lock);
		done = key_chunk(page, order, &spent);
		mutex_unlock(&pgtable_split_lock);
		if (done)
			give(page_to_pfn(page), 1ul << order, spent);
		mutex_unlock(&alloc_mutex);
	}
	refill_ends();
	return done;
}

static int boot(void)
{
	return refill_pages();
}

static int refill(struct page **served)
{
	if (!refill_pages())
		return 0;
	*served = take(0);
	return *served != NULL;
}

static int outside(unsigned long addr, int pages)
{
	for (;;) {
		while (READ_ONCE(cached) < p.reserve)
			if (!refill_pages())
				return -ENOMEM;
		mutex_lock(&pgtable_split_lock);
		if (READ_ONCE(cached) >= p.reserve)
			return 0;
		mutex_unlock(&pgtable_split_lock);
	}
}

static void outside_done(void)
{
	mutex_unlock(&pgtable_split_lock);
}

static int withdraw_all(struct chunk *chunks, int count)
{
	int taken = 0;

	for (int i = 0; i < count; i++)
		if (withdraw(chunks[i].pfn, 0))
			chunks[taken++] = chunks[i];
	return taken;
}

/* A whole free block in one piece; failing that, pages of the block with most free ones; failing that, other pages. */
static unsigned long scan(void)
{
	static struct chunk chunks[BLOCK];
	unsigned long most = 0, target = 0, others = 0, block, blocks = block_of(frames) + 1;
	long may = cached - p.unshrinkable;
	int count = 0, limit;

	for (block = 0; block < blocks; block++) {
		unsigned long idle = idle_in_block(block);

		if (!came_whole(block))
			others += idle;
		else if (idle && idle >= most)
			most = idle, target = block;
	}
	if (may <= 0 || (most == BLOCK && may < (long)BLOCK))
		return 0;
	if (most == BLOCK) {
		count = withdraw_all(chunks, block_idle(target, chunks, BLOCK));
		if (count == BLOCK) {
			chunks[0].order = BLOCK_ORDER;
			return give_back(chunks, 1, true);
		}
		for (int i = 0; i < count; i++)
			unwithdraw(chunks[i].pfn, 0);
		return 0;
	}
	limit = min_t(long, may, min_t(long, p.shrink_batch, BLOCK));
	if (others < most && others < p.shrink_batch && most >= p.shrink_block_min) {
		count = block_idle(target, chunks, limit);
	} else {
		for (block = 0; block < blocks && count < limit; block++)
			if (idle_in_block(block) && !came_whole(block))
				count += block_idle(block, chunks + count, limit - count);
	}
	return give_back(chunks, withdraw_all(chunks, count), true);
}

static unsigned long shrink(void)
{
	static DEFINE_MUTEX(scans);
	unsigned long freed;

	if (!mutex_trylock(&scans))
		return 0;
	freed = scan();
	mutex_unlock(&scans);
	return freed;
}

const struct strategy pba = {
	.name = "pba",
	.parameters = "refill_orders=9-4-2 reserve=4 unshrinkable=16 shrink_block_min=64 shrink_batch=512",
	.tables = POOL,
	.pooled = true,
	.boot = boot,
	.refill = refill,
	.outside = outside,
	.outside_done = outside_done,
	.shrink = shrink,
	.batch = 512,
};
