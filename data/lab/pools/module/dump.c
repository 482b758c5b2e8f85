// SPDX-License-Identifier: GPL-2.0
/* What there is to see in debugfs: counters, where the pool's pages are, and the page allocator's free lists. */
#include "pools.h"
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/vmalloc.h>

static int stats_show(struct seq_file *m, void *v)
{
	seq_printf(m, "strategy %s\nactive %d\n", s->name, active);
	print_parameters(m);
	seq_printf(m, "cached %ld\ncached_min %ld\ncached_max %ld\non_cpus %ld\n", cached, cached_min, cached_max, on_cpus());
	seq_printf(m, "held %ld\nheld_max %ld\nat_boot %ld\n", held, held_max, at_boot);
	seq_printf(m, "aside_left %ld\naside_min %ld\n", aside_left, aside_min);
	for (int o = 0; o < NR_PAGE_ORDERS; o++)
		if (atomic_long_read(&n.tried[o]))
			seq_printf(m, "refill_order_%d tried %ld got %ld\n", o, atomic_long_read(&n.tried[o]),
				   atomic_long_read(&n.got[o]));
#define C(name) seq_printf(m, #name " %ld\n", atomic_long_read(&n.name));
	COUNTERS(C)
#undef C
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

/* Where the pool's pages are: FIRST LAST (hexadecimal frames) and i for idle, u for used, a line per run. */
static int pages_show(struct seq_file *m, void *v)
{
	unsigned long pfn = 0, end;

	while (pfn < frames) {
		bool idle;

		if (!test_bit(pfn, owned)) {
			pfn = find_next_bit(owned, frames, pfn);
			continue;
		}
		idle = is_idle(pfn);
		for (end = pfn; end < frames && test_bit(end, owned) && is_idle(end) == idle; end++)
			;
		seq_printf(m, "%lx %lx %c\n", pfn, end - 1, idle ? 'i' : 'u');
		pfn = end;
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(pages);

/*
 * Where everything free is, in the order in which the page allocator would take it: rows of 4 u32, little endian:
 * frame, order, list (migratetype), place: zone, or 0x100 * (CPU + 1) + zone for a list of a CPU, or 0xffff: a pageblock's
 * type. Only when nothing else runs is it a moment.
 */
struct row {
	u32 frame, order, type, place;
};

static struct row *rows;	/* taken at load: a dump is not to change what it shows */
static size_t count, most;

static void add_row(unsigned long frame, u32 order, u32 type, u32 place)
{
	if (count < most)
		rows[count++] = (struct row){ frame, order, type, place };
}

static void add_cpu(struct per_cpu_pages *pcp, u32 place)
{
	struct page *page;
	unsigned long flags;

	spin_lock_irqsave(&pcp->lock, flags);
	for (int i = 0; i < NR_PCP_LISTS; i++) {
		bool low = i < NR_LOWORDER_PCP_LISTS;

		list_for_each_entry(page, &pcp->lists[i], pcp_list)
			add_row(page_to_pfn(page), low ? i / MIGRATE_PCPTYPES : pageblock_order,
				low ? i % MIGRATE_PCPTYPES : i - NR_LOWORDER_PCP_LISTS, place);
	}
	spin_unlock_irqrestore(&pcp->lock, flags);
}

static void add_zone(struct zone *zone, u32 place)
{
	struct page *page;
	unsigned long flags;

	spin_lock_irqsave(&zone->lock, flags);
	for (int order = 0; order < NR_PAGE_ORDERS; order++)
		for (int type = 0; type < MIGRATE_TYPES; type++)
			list_for_each_entry(page, &zone->free_area[order].free_list[type], buddy_list)
				add_row(page_to_pfn(page), order, type, place);
	spin_unlock_irqrestore(&zone->lock, flags);
}

static void add_pageblocks(void)
{
	for (unsigned long pfn = 0; pfn < frames; pfn += pageblock_nr_pages) {
		unsigned long at = ((pfn & (PAGES_PER_SECTION - 1)) >> pageblock_order) * NR_PAGEBLOCK_BITS;

		if (valid_section_nr(pfn_to_section_nr(pfn)))
			add_row(pfn, pageblock_order,
				__pfn_to_section(pfn)->usage->pageblock_flags[at / BITS_PER_LONG] >> at % BITS_PER_LONG & 7, 0xffff);
	}
}

static int lists_open(struct inode *inode, struct file *file)
{
	int cpu;

	count = 0;
	for (int z = 0; z < MAX_NR_ZONES; z++) {
		struct zone *zone = &NODE_DATA(0)->node_zones[z];

		if (!zone->managed_pages.counter)
			continue;
		for_each_online_cpu(cpu)
			add_cpu(per_cpu_ptr(zone->per_cpu_pageset, cpu), 0x100 * (cpu + 1) + z);
		add_zone(zone, z);
	}
	add_pageblocks();
	return 0;
}

static ssize_t lists_read(struct file *file, char __user *to, size_t length, loff_t *at)
{
	return simple_read_from_buffer(to, length, at, rows, count * sizeof(*rows));
}

static const struct file_operations lists_fops = { .open = lists_open, .read = lists_read };

int dump_alloc(void)
{
	most = frames / 2 + 65536;
	rows = vmalloc_array(most, sizeof(*rows));
	return rows ? 0 : -ENOMEM;
}

void dump_init(struct dentry *dir)
{
	debugfs_create_file("stats", 0444, dir, NULL, &stats_fops);
	debugfs_create_file("pages", 0444, dir, NULL, &pages_fops);
	debugfs_create_file("free_lists", 0444, dir, NULL, &lists_fops);
}
