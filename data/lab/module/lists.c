// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * /proc/ptlists: the free lists, the CPUs' lists and the types of pageblocks as the kernel itself sees them, under its
 * locks. The dump is made when the file is opened, into memory taken at load; rows as in ingest/snapshots/free_lists.py.
 */
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/vmalloc.h>
#include <linux/version.h>
#include <linux/pageblock-flags.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define NR_PAGE_ORDERS MAX_ORDER
#endif
#ifndef NR_PAGEBLOCK_BITS
#define NR_PAGEBLOCK_BITS 4
#endif

struct row { u32 pfn, order, type, place; };
static struct row *rows;
static size_t count, most;

static void add(u32 pfn, u32 order, u32 type, u32 place)
{
	if (count < most)
		rows[count++] = (struct row){ pfn, order, type, place };
}

static void dump(struct zone *zone, u32 place)
{
	unsigned long flags;
	struct page *page;
	int cpu;

	/* the zone's lock first: what is moved from a CPU's list to the zone's in between is seen twice or not at all */
	spin_lock_irqsave(&zone->lock, flags);
	for (int order = 0; order < NR_PAGE_ORDERS; order++)
		for (int type = 0; type < MIGRATE_TYPES; type++)
			list_for_each_entry(page, &zone->free_area[order].free_list[type], buddy_list)
				add(page_to_pfn(page), order, type, place);
	spin_unlock_irqrestore(&zone->lock, flags);
	for_each_possible_cpu(cpu) {
		struct per_cpu_pages *pcp = per_cpu_ptr(zone->per_cpu_pageset, cpu);

		spin_lock_irqsave(&pcp->lock, flags);
		for (int i = 0; i < NR_PCP_LISTS; i++)
			list_for_each_entry(page, &pcp->lists[i], pcp_list)
				add(page_to_pfn(page), i < NR_LOWORDER_PCP_LISTS ? i / MIGRATE_PCPTYPES : pageblock_order,
				    i < NR_LOWORDER_PCP_LISTS ? i % MIGRATE_PCPTYPES : i - NR_LOWORDER_PCP_LISTS,
				    place | (cpu + 1) << 8);
		spin_unlock_irqrestore(&pcp->lock, flags);
	}
}

static int lists_open(struct inode *inode, struct file *file)
{
	unsigned long last = 0;
	int node;

	count = 0;
	for_each_online_node(node)
		for (int z = 0; z < MAX_NR_ZONES; z++) {
			struct zone *zone = &NODE_DATA(node)->node_zones[z];

			if (zone->present_pages)
				dump(zone, z | node << 20);
			last = max(last, zone_end_pfn(zone));
		}
	for (unsigned long pfn = 0; pfn < last; pfn += pageblock_nr_pages)
		if (valid_section_nr(pfn_to_section_nr(pfn))) {
			unsigned long *bits = __pfn_to_section(pfn)->usage->pageblock_flags;
			unsigned long at = ((pfn & (PAGES_PER_SECTION - 1)) >> pageblock_order) * NR_PAGEBLOCK_BITS;

			add(pfn, pageblock_order, bits[at / BITS_PER_LONG] >> at % BITS_PER_LONG & 7, 0xffff);
		}
	return 0;
}

static ssize_t lists_read(struct file *file, char __user *to, size_t length, loff_t *at)
{
	return simple_read_from_buffer(to, length, at, rows, count * sizeof(*rows));
}

static const struct proc_ops ops = { .proc_open = lists_open, .proc_read = lists_read };

static int __init lists_init(void)
{
	most = totalram_pages() + 65536;
	rows = vzalloc(most * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	return proc_create("ptlists", 0400, NULL, &ops) ? 0 : -ENOMEM;
}
module_init(lists_init);
MODULE_DESCRIPTION("free lists under their locks, to compare with");
MODULE_LICENSE("GPL");
