// SPDX-License-Identifier: GPL-2.0
/*
 * Tables for the whole direct map set aside; page tables from 2M blocks, else single pages.
 * replay/strategies/full_reserve.py
 */
#include "pools.h"
#include <asm/pgtable.h>

static LIST_HEAD(aside);

struct page *take_aside(void)
{
	struct page *page;
	unsigned long flags;

	spin_lock_irqsave(&list_lock, flags);
	page = list_first_entry_or_null(&aside, struct page, lru);
	if (page) {
		list_del(&page->lru);
		aside_min = min(aside_min, --aside_left);
	}
	spin_unlock_irqrestore(&list_lock, flags);
	return page;
}

/* Whole blocks, keyed page by page; a table for each 2M and each 1G that is mapped: calc_tables_needed(). */
static noinline int ptpools_set_aside(void)
{
	unsigned long wanted = 0, pages = 0, last = ~0ul;
	unsigned int level;

	for (unsigned long pfn = 0; pfn < frames; pfn += BLOCK) {
		if (!lookup_address((unsigned long)pfn_to_kaddr(pfn), &level))
			continue;
		wanted += 1 + (pfn / (PTRS_PER_PMD * BLOCK) != last);
		last = pfn / (PTRS_PER_PMD * BLOCK);
	}
	for (; pages < wanted; pages += BLOCK) {
		struct page *page = alloc_pages(GFP_KERNEL | __GFP_NOWARN, BLOCK_ORDER);

		inc(tried[BLOCK_ORDER]);
		if (!page)
			return 0;
		inc(got[BLOCK_ORDER]);
		split_page(page, BLOCK_ORDER);
		for (int i = 0; i < BLOCK; i++) {
			set_bit(page_to_pfn(page + i), owned);
			list_add_tail(&page[i].lru, &aside);
		}
		aside_left += BLOCK;
		held += BLOCK;
		for (int i = 0; i < BLOCK; i++)
			set_key(page_to_pfn(page + i), 1, 1, true);
	}
	held_max = held;
	return 1;
}

/* There is no lock around a refill: every task that finds the list empty takes a block of its own. */
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

/* Idle pages one by one, whatever block they are in. */
static unsigned long shrink(void)
{
	static struct chunk chunks[BLOCK];
	static DEFINE_MUTEX(scans);
	unsigned long freed = 0;
	int limit = min_t(long, p.shrink_batch, BLOCK), count = 0;

	if (!mutex_trylock(&scans))
		return 0;
	for (unsigned long block = 0; block <= block_of(frames) && count < limit; block++)
		if (idle_in_block(block))
			count += block_idle(block, chunks + count, limit - count);
	for (int i = 0; i < count; i++)
		if (withdraw(chunks[i].pfn, 0))
			freed += give_back(chunks + i, 1, true);
	mutex_unlock(&scans);
	return freed;
}

const struct strategy full_reserve = {
	.name = "full-reserve",
	.parameters = "refill_orders=9-0 shrink_batch=128",
	.tables = ASIDE,
	.pooled = true,
	.boot = ptpools_set_aside,
	.refill = refill,
	.shrink = shrink,
	.batch = 128,
};
