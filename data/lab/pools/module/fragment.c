// SPDX-License-Identifier: GPL-2.0
/* Memory without free chunks above an order, made at load. */
#include "pools.h"
#include <linux/moduleparam.h>

static int fragment = -1, spare;
module_param(fragment, int, 0444);	/* no free chunk above this order is left ... */
module_param(spare, int, 0444);		/* ... but so many whole blocks */

static LIST_HEAD(kept);

static int take_blocks(struct list_head *blocks, int most)
{
	struct page *page;
	int got = 0;

	for (; got < most; got++) {
		page = alloc_pages((got & 1 ? GFP_HIGHUSER_MOVABLE : GFP_KERNEL) | __GFP_NORETRY | __GFP_NOWARN, BLOCK_ORDER);
		if (!page)
			break;
		list_add_tail(&page->lru, blocks);
	}
	return got;
}

/*
 * One page in 2^(fragment + 1) stays, of every free block but the spare ones; every other block keeps its type MOVABLE.
 * Those that stay are marked as slab: pages without any flag could as well be on a list of a CPU.
 * In rounds: the watermark leaves some blocks out while all the others are held.
 */
void fragment_memory(void)
{
	unsigned long blocks = 0, pages = 0, step = 2ul << fragment;
	struct page *page, *next;
	LIST_HEAD(spared);
	LIST_HEAD(taken);
	int got;

	if (fragment < 0)
		return;
	take_blocks(&spared, spare);
	while ((got = take_blocks(&taken, 256)) > 0) {
		blocks += got;
		list_for_each_entry_safe(page, next, &taken, lru) {
			list_del(&page->lru);
			split_page(page, BLOCK_ORDER);
			for (unsigned long i = 0; i < BLOCK; i++)
				if (i % step) {
					__free_page(page + i);
				} else {
					__folio_set_slab(page_folio(page + i));
					list_add(&page[i].lru, &kept);
					pages++;
				}
		}
	}
	list_for_each_entry_safe(page, next, &spared, lru) {
		list_del(&page->lru);
		__free_pages(page, BLOCK_ORDER);
	}
	pr_info("%lu blocks, %lu pages kept\n", blocks, pages);
}

void fragment_undo(void)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &kept, lru) {
		list_del(&page->lru);
		__folio_clear_slab(page_folio(page));
		__free_page(page);
	}
}
