// SPDX-License-Identifier: GPL-2.0
/*
 * The lists of idle pages: the shared one, most recently used first, which may be a private buddy (idle pages merge), and
 * one for each CPU. As replay/machine/pool.py.
 */
#include "pools.h"
#include <linux/percpu.h>
#include <linux/vmalloc.h>

DEFINE_SPINLOCK(list_lock);
long cached, cached_min, cached_max;

static struct list_head idle[BLOCK_ORDER + 1];
static u8 *order_of;		/* of the idle chunk that starts at this frame, + 1; 0 elsewhere */
static u16 *idle_in;		/* idle pages of each block on the shared list */
static unsigned long *whole;	/* bit per block: came as one, nothing of it given back */
static long blocks_idle;

struct magazine {
	struct list_head pages;
	long count;
};
static DEFINE_PER_CPU(struct magazine, magazines);

int list_init(void)
{
	int cpu;

	order_of = vzalloc(frames);
	idle_in = vzalloc((block_of(frames) + 1) * sizeof(*idle_in));
	whole = vzalloc(BITS_TO_LONGS(block_of(frames) + 1) * sizeof(long));
	for (int i = 0; i <= BLOCK_ORDER; i++)
		INIT_LIST_HEAD(&idle[i]);
	for_each_possible_cpu(cpu)
		INIT_LIST_HEAD(&per_cpu(magazines, cpu).pages);
	return order_of && idle_in && whole ? 0 : -ENOMEM;
}

static void unlink(unsigned long pfn)
{
	blocks_idle -= order_of[pfn] == BLOCK_ORDER + 1;
	list_del(&pfn_to_page(pfn)->lru);
	order_of[pfn] = 0;
}

static void link(unsigned long pfn, int order)
{
	int most = s->merges ? BLOCK_ORDER : 0;

	for (; order < most; order++) {
		unsigned long buddy = pfn ^ (1ul << order);

		if (buddy >= frames || order_of[buddy] != order + 1)
			break;
		unlink(buddy);
		pfn &= buddy;
	}
	order_of[pfn] = order + 1;
	blocks_idle += order == BLOCK_ORDER;
	list_add(&pfn_to_page(pfn)->lru, &idle[order]);
}

/* Pages that join or leave the shared list. */
static void account(unsigned long pfn, long pages)
{
	idle_in[block_of(pfn)] += pages;
	cached += pages;
	cached_min = min(cached_min, cached);
	cached_max = max(cached_max, cached);
}

static struct page *pop(void)
{
	for (int order = 0; order <= BLOCK_ORDER; order++) {
		struct page *page = list_first_entry_or_null(&idle[order], struct page, lru);
		unsigned long pfn;

		if (!page)
			continue;
		pfn = page_to_pfn(page);
		unlink(pfn);
		while (order-- > 0)
			link(pfn + (1ul << order), order);
		account(pfn, -1);
		return page;
	}
	return NULL;
}

struct page *take(long leave)
{
	struct page *page = NULL;
	unsigned long flags;

	spin_lock_irqsave(&list_lock, flags);
	if (cached > leave)
		page = pop();
	spin_unlock_irqrestore(&list_lock, flags);
	return page;
}

/* New pages, without the first `spent`, which became tables. The lowest becomes the head. */
void give(unsigned long pfn, unsigned long pages, unsigned long spent)
{
	unsigned long flags;

	spin_lock_irqsave(&list_lock, flags);
	for (unsigned long i = pages; i-- > 0;) {
		set_bit(pfn + i, owned);
		if (i < spent)
			continue;
		set_page_count(pfn_to_page(pfn + i), 0);
		link(pfn + i, 0);
		account(pfn + i, 1);
	}
	if (pages >= BLOCK)
		__set_bit(block_of(pfn), whole);
	held += pages;
	held_max = max(held_max, held);
	spin_unlock_irqrestore(&list_lock, flags);
}

void put(struct page *page)
{
	unsigned long flags, pfn = page_to_pfn(page);

	spin_lock_irqsave(&list_lock, flags);
	link(pfn, 0);
	account(pfn, 1);
	spin_unlock_irqrestore(&list_lock, flags);
}

/* ------------------------------------------------------------------------------------------------ lists of CPUs */

struct page *take_on_cpu(int batch, long leave)
{
	struct magazine *own;
	struct page *page;
	unsigned long flags;

	local_irq_save(flags);
	own = this_cpu_ptr(&magazines);
	if (!own->count) {
		spin_lock(&list_lock);
		for (int i = 0; i < batch && cached > leave; i++) {
			list_add_tail(&pop()->lru, &own->pages);
			own->count++;
		}
		spin_unlock(&list_lock);
	}
	page = list_first_entry_or_null(&own->pages, struct page, lru);
	if (page) {
		list_del(&page->lru);
		own->count--;
	}
	local_irq_restore(flags);
	return page;
}

void put_on_cpu(struct page *page, int batch)
{
	struct magazine *own;
	unsigned long flags;

	local_irq_save(flags);
	own = this_cpu_ptr(&magazines);
	list_add(&page->lru, &own->pages);
	if (++own->count > 2 * batch) {
		spin_lock(&list_lock);
		for (int i = 0; i < batch; i++) {
			page = list_last_entry(&own->pages, struct page, lru);
			list_del(&page->lru);
			link(page_to_pfn(page), 0);
			account(page_to_pfn(page), 1);
			own->count--;
		}
		spin_unlock(&list_lock);
	}
	local_irq_restore(flags);
}

long on_cpus(void)
{
	long pages = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		pages += READ_ONCE(per_cpu(magazines, cpu).count);
	return pages;
}

/* --------------------------------------------------------------------------------------------- for shrinkers */

/* Takes an idle chunk as it stands on its list. */
bool withdraw(unsigned long pfn, int order)
{
	unsigned long flags;
	bool there;

	spin_lock_irqsave(&list_lock, flags);
	there = order_of[pfn] == order + 1;
	if (there) {
		unlink(pfn);
		account(pfn, -(1l << order));
		held -= 1l << order;
		not_whole(block_of(pfn));
	}
	spin_unlock_irqrestore(&list_lock, flags);
	return there;
}

void unwithdraw(unsigned long pfn, int order)
{
	unsigned long flags;

	spin_lock_irqsave(&list_lock, flags);
	for (unsigned long i = 1ul << order; i-- > 0;) {
		link(pfn + i, 0);
		account(pfn + i, 1);
	}
	held += 1l << order;
	spin_unlock_irqrestore(&list_lock, flags);
}

long whole_blocks(void)
{
	return READ_ONCE(blocks_idle);
}

/* Idle chunks as they stand on the lists, of one order after the other; how many. */
int idle_chunks(struct chunk *to, int most, bool largest_first)
{
	unsigned long flags;
	struct page *page;
	int found = 0;

	spin_lock_irqsave(&list_lock, flags);
	for (int i = 0; i <= BLOCK_ORDER; i++) {
		int order = largest_first ? BLOCK_ORDER - i : i;

		list_for_each_entry(page, &idle[order], lru) {
			if (found == most)
				break;
			to[found++] = (struct chunk){ page_to_pfn(page), order };
		}
	}
	spin_unlock_irqrestore(&list_lock, flags);
	return found;
}

int idle_in_block(unsigned long block)
{
	return idle_in[block];
}

bool is_idle(unsigned long pfn)
{
	for (int order = 0; order <= BLOCK_ORDER; order++)
		if (order_of[pfn & ~((1ul << order) - 1)] == order + 1)
			return true;
	return false;
}

bool came_whole(unsigned long block)
{
	return test_bit(block, whole);
}

void not_whole(unsigned long block)
{
	__clear_bit(block, whole);
}

/* The idle pages of a block, ascending; how many. For lists that do not merge. */
int block_idle(unsigned long block, struct chunk *to, int most)
{
	unsigned long flags, first = block << BLOCK_ORDER;
	int found = 0;

	spin_lock_irqsave(&list_lock, flags);
	for (unsigned long pfn = first; found < most && pfn < first + BLOCK && pfn < frames; pfn++)
		if (order_of[pfn] == 1)
			to[found++] = (struct chunk){ pfn, 0 };
	spin_unlock_irqrestore(&list_lock, flags);
	return found;
}
