// SPDX-License-Identifier: GPL-2.0
/*
 * For counterexamples: what `ptpool replay check` lets an adversary choose, which is rare in a machine: when a task goes
 * on (meet=), and under which leaf of the direct map a chunk lies (apart=).
 */
#include "pools.h"
#include <linux/delay.h>
#include <linux/moduleparam.h>
#include <asm/pgtable.h>

static int meet, apart;
module_param(meet, int, 0644);	/* refills wait, up to 50 ms, until so many tasks are about to set a key */
module_param(apart, int, 0644);	/* of so many chunks a refill takes the first under another 1G leaf */

#define leaf_of(pfn) ((pfn) >> (PUD_SHIFT - PAGE_SHIFT))

/* Up to 50 ms, until as many tasks have come here as are to meet. */
static bool gather(atomic_t *here, int wanted)
{
	for (int i = 0; i < 50 && atomic_read(here) < wanted; i++)
		usleep_range(900, 1100);
	return atomic_read(here) >= wanted;
}

void wait_for_others(void)
{
	static atomic_t met;
	int wanted = READ_ONCE(meet);

	if (!wanted || !active)
		return;
	atomic_inc(&met);
	gather(&met, wanted);
	usleep_range(900, 1100);	/* so that those who came first see that all are there */
	atomic_dec(&met);
}

static bool large(unsigned long pfn)
{
	unsigned int level;

	return lookup_address((unsigned long)pfn_to_kaddr(pfn), &level) && level == PG_LEVEL_1G;
}

/* A chunk of the page allocator. Without an adversary, or after it has reached something, what comes first. */
noinline struct page *ptpools_chosen(int order)
{
	static unsigned long last_leaf;
	struct page *page, *next, *found = NULL;
	LIST_HEAD(others);
	int tries = active && !atomic_long_read(&n.starved_own) ? READ_ONCE(apart) : 0;
	bool wanted = tries && gather(&refilling, READ_ONCE(meet));	/* alone, a task leaves the 1G leaves as they are */

	do {
		page = alloc_pages(GFP_KERNEL | __GFP_NOWARN | (tries ? __GFP_NORETRY : 0), order);
		if (!page)
			break;
		if (!tries || (large(page_to_pfn(page)) == wanted && (!wanted || leaf_of(page_to_pfn(page)) != last_leaf))) {
			found = page;
			if (wanted)
				WRITE_ONCE(last_leaf, leaf_of(page_to_pfn(page)));
			break;
		}
		list_add_tail(&page->lru, &others);
	} while (--tries > 0);
	list_for_each_entry_safe(page, next, &others, lru) {
		list_del(&page->lru);
		if (!found)
			found = page;	/* the first */
		else
			__free_pages(page, order);
	}
	return found;
}
