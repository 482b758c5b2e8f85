// SPDX-License-Identifier: GPL-2.0
/* Changes of the direct map, and the pieces that refills and shrinkers are made of. */
#include "pools.h"
#include <linux/moduleparam.h>
#include <asm/pgtable.h>

static bool log;
module_param(log, bool, 0644);	/* what refills do, step by step, until a split lacks a table */

void step(const char *format, ...)
{
	struct va_format vaf;
	va_list args;

	if (!log || atomic_long_read(&n.starved_own) || atomic_long_read(&n.starved_outside))
		return;
	va_start(args, format);
	vaf.fmt = format;
	vaf.va = &args;
	pr_info("task %d %pV\n", current->pid, &vaf);
	va_end(args);
}

static struct change changes[64];
atomic_t changing;

struct change *enter(bool own)
{
	for (;; cpu_relax())
		for (int i = 0; i < ARRAY_SIZE(changes); i++)
			if (!cmpxchg(&changes[i].task, NULL, current)) {
				changes[i].own = own;
				changes[i].spent = 0;
				if (atomic_inc_return(&changing) > 1)
					inc(changes_overlapping);
				return &changes[i];
			}
}

void leave(struct change *c)
{
	atomic_dec(&changing);
	smp_store_release(&c->task, NULL);
}

struct change *mine(void)
{
	for (int i = 0; i < ARRAY_SIZE(changes); i++)
		if (READ_ONCE(changes[i].task) == current)
			return &changes[i];
	return NULL;
}

/* Tables that a change needs: one for each leaf at its ends that it covers in part, and for each level of it. */
int tables_needed(unsigned long addr, int pages)
{
	unsigned long end = addr + ((unsigned long)pages << PAGE_SHIFT), at = addr, split_2m = 0, split_1g = 0, first;
	unsigned int level;
	int needed = 0;

	if (addr < PAGE_OFFSET || addr >= PAGE_OFFSET + (frames << PAGE_SHIFT))
		return 0;
	for (int i = 0; i < 2; i++, at = end - PAGE_SIZE) {
		if (!lookup_address(at, &level) || level == PG_LEVEL_4K)
			continue;
		first = at & PUD_MASK;
		if (level == PG_LEVEL_1G && (addr > first || end < first + PUD_SIZE) && split_1g != first) {
			split_1g = first;
			needed++;
		}
		first = at & PMD_MASK;
		if ((addr > first || end < first + PMD_SIZE) && split_2m != first) {
			split_2m = first;
			needed++;
		}
	}
	return needed;
}

int set_key(unsigned long pfn, unsigned long pages, int key, bool flush)
{
	struct change *c = enter(true);
	int error;

	c->pfn = pfn;
	c->pages = pages;
	error = set_memory_ptpkey((unsigned long)pfn_to_kaddr(pfn), pages, key);
	leave(c);
	if (key)
		inc(key_sets);
	else
		inc(key_clears);
	if (flush)
		inc(flushes);
	if (error)
		inc(key_failed);
	return error;
}

/* ------------------------------------------------------------------------------------------------------- refills */

/* What comes first; its order goes to *order. NULL: nothing. */
noinline struct page *ptpools_first_free(const int *orders, int count, int *order)
{
	for (int i = 0; i < count; i++) {
		struct page *page;

		inc(tried[orders[i]]);
		page = ptpools_chosen(orders[i]);
		step("asks the page allocator for order %d: %s", orders[i], page ? "there is one" : "there is none");
		if (!page)
			continue;
		inc(got[orders[i]]);
		split_page(page, orders[i]);
		*order = orders[i];
		return page;
	}
	return NULL;
}

/* Gives pages back that are no longer idle, in one piece. */
static noinline void ptpools_free_chunk(struct page *page, int order)
{
	for (unsigned long i = 0; i < 1ul << order; i++) {
		clear_bit(page_to_pfn(page) + i, owned);
		set_page_count(page + i, i == 0);
		page[i].mapping = NULL;
		set_page_private(page + i, 0);
	}
	__free_pages(page, order);
}

void free_chunk(struct page *page, int order)
{
	struct change *c = enter(true);	/* nothing of it is adopted */

	ptpools_free_chunk(page, order);
	leave(c);
}

/* Keys a new chunk, or frees it. *spent: pages of it that became tables of the direct map. */
bool key_chunk(struct page *page, int order, unsigned long *spent)
{
	unsigned long pfn = page_to_pfn(page), addr = (unsigned long)page_address(page);
	struct change *c;
	int error;

	wait_for_others();
	step("sets the key of order %d: %d tables from the pool, which has %ld", order, tables_needed(addr, 1 << order), cached);
	c = enter(true);
	c->pfn = pfn;
	c->pages = 1ul << order;
	error = set_memory_ptpkey(addr, 1 << order, KEY);
	*spent = c->spent;
	leave(c);
	inc(key_sets);
	inc(flushes);
	if (!error)
		return true;
	inc(key_failed);
	free_chunk(page, order);
	return false;
}

/* Keys a new chunk and puts it into the pool. 1: done, 0: it is free again. */
int key_and_give(struct page *page, int order)
{
	unsigned long spent;

	if (!page || !key_chunk(page, order, &spent))
		return 0;
	give(page_to_pfn(page), 1ul << order, spent);
	step("puts order %d into the pool: %ld there", order, cached);
	return 1;
}

/* The key of withdrawn chunks is cleared, and they are free. Where one lacks a table, it and the rest stay. */
int give_back(struct chunk *chunks, int count, bool flush)
{
	int freed = 0, i = 0;

	for (; i < count && !set_key(chunks[i].pfn, 1ul << chunks[i].order, 0, flush); i++) {
		free_chunk(pfn_to_page(chunks[i].pfn), chunks[i].order);
		freed += 1 << chunks[i].order;
		if (chunks[i].order == BLOCK_ORDER)
			inc(shrunk_blocks);
	}
	for (; i < count; i++) {
		inc(shrink_failed);
		unwithdraw(chunks[i].pfn, chunks[i].order);
	}
	return freed;
}

atomic_t refilling;

void refill_starts(void)
{
	inc(refills);
	if (atomic_inc_return(&refilling) > 1)
		inc(refills_overlapping);
	step("refills: the pool has %ld and keeps %d", cached, p.reserve);
}

void refill_ends(void)
{
	atomic_dec(&refilling);
}
