// SPDX-License-Identifier: GPL-2.0
/*
 * Ours: splits a leaf only for all that is free in it, gives whole blocks back, never lacks a table.
 * replay/strategies/buddy_reserve.py
 */
#include "pools.h"

#define REFILL_TABLES 2		/* what the split of a refill takes at most: its first chunk is naturally aligned */

/* Every split takes it, for that split only; nothing is allocated under it. */
static DEFINE_MUTEX(split_mutex);

/* Order of the largest free chunk, at most a block's. */
static int largest_free(void)
{
	int largest = 0;

	for (int z = 0; z < MAX_NR_ZONES; z++)
		for (int order = NR_PAGE_ORDERS - 1; order > largest; order--)
			if (READ_ONCE(NODE_DATA(0)->node_zones[z].free_area[order].nr_free))
				largest = order;
	return min(largest, BLOCK_ORDER);
}

/* The pages of a chunk, or of several of one pageblock, on `list`; page_private() is the order. How many pages. */
static unsigned long chunk_list(struct page *page, int order, struct list_head *list)
{
	unsigned long pages = 0;

	set_page_private(page, order);
	if (p.isolates && order < p.block_order) {
		ptp_isolate(page, list);
		list_for_each_entry(page, list, lru) {
			pages += 1ul << page_private(page);
			inc(isolated);
		}
	}
	return pages;
}

static void free_list(struct list_head *list)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, list, lru) {
		list_del(&page->lru);
		free_chunk(page, page_private(page));
	}
}

/* More pages than their split takes, of one pageblock. */
static bool memory(struct list_head *list)
{
	int free = p.looks ? largest_free() : p.block_order, order;
	int orders[] = { free >= p.block_order ? p.block_order : min(free, p.last_order), p.last_order };

	for (int i = 0; i < 2; i++) {
		struct page *page;
		unsigned long pages;

		if (i && orders[0] == orders[1])
			break;
		page = ptpools_first_free(orders + i, 1, &order);
		if (!page)
			continue;
		pages = (1ul << order) + chunk_list(page, order, list);
		list_add(&page->lru, list);
		if (pages > REFILL_TABLES)
			return true;
		free_list(list);
	}
	return false;
}

/* One flush, after the last. Where the first lacks a table, all are freed. */
static bool key_and_give_all(struct list_head *list)
{
	struct page *page, *next;

	list_for_each_entry(page, list, lru) {
		if (set_key(page_to_pfn(page), 1ul << page_private(page), 1, list_is_last(&page->lru, list)))
			return false;
	}
	list_for_each_entry_safe(page, next, list, lru) {
		list_del(&page->lru);
		give(page_to_pfn(page), 1ul << page_private(page), 0);
	}
	return true;
}

static int refill(struct page **served)
{
	LIST_HEAD(list);
	bool done;

	refill_starts();
	done = memory(&list);
	if (done) {
		wait_for_others();
		mutex_lock(&split_mutex);
		done = key_and_give_all(&list);
		mutex_unlock(&split_mutex);
		free_list(&list);
	}
	refill_ends();
	return done;
}

static int boot(void)
{
	while (cached < p.reserve)
		if (!refill(NULL))
			return 0;
	return 1;
}

static int outside(unsigned long addr, int pages)
{
	for (;;) {
		mutex_lock(&split_mutex);
		if (READ_ONCE(cached) >= tables_needed(addr, pages) + REFILL_TABLES)
			return 0;
		mutex_unlock(&split_mutex);
		if (!refill(NULL))
			return -ENOMEM;
	}
}

static void outside_done(void)
{
	mutex_unlock(&split_mutex);
}

/* What takes no table, the largest chunks first. */
static unsigned long shrink(void)
{
	static struct chunk chunks[2 * BLOCK], taken[BLOCK];
	unsigned long pages = 0;
	int count, took = 0, freed;

	mutex_lock(&split_mutex);
	count = idle_chunks(chunks, ARRAY_SIZE(chunks), true);
	for (int i = 0; i < count && pages < p.shrink_batch && took < ARRAY_SIZE(taken); i++) {
		int size = 1 << chunks[i].order;

		if (cached - size < p.keep || tables_needed((unsigned long)pfn_to_kaddr(chunks[i].pfn), size) ||
		    !withdraw(chunks[i].pfn, chunks[i].order))
			continue;
		if (cached < p.keep) {	/* others took pages meanwhile */
			unwithdraw(chunks[i].pfn, chunks[i].order);
			break;
		}
		taken[took++] = chunks[i];
		pages += size;
	}
	freed = give_back(taken, took, false);
	if (took)
		inc(flushes);
	mutex_unlock(&split_mutex);
	return freed;
}

const struct strategy buddy_reserve = {
	.name = "buddy-reserve",
	.parameters = "reserve=6 block_order=9 last_order=2 looks=1 isolates=1 spare_blocks=1 magazine_order=4 keep=16 shrink_batch=512",
	.tables = POOL,
	.pooled = true,
	.merges = true,
	.trims = true,
	.boot = boot,
	.refill = refill,
	.outside = outside,
	.outside_done = outside_done,
	.shrink = shrink,
	.batch = 512,
};
