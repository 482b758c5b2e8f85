// SPDX-License-Identifier: GPL-2.0
/*
 * ptpools: proposed ways of supplying page tables, in a real kernel (../hooks.patch).
 *
 *	insmod ptpools.ko strategy=pba set=reserve=4+keep=16
 *	echo 1 > /sys/kernel/debug/ptpools/activate ; cat /sys/kernel/debug/ptpools/stats
 *
 * The "key" is a protection-key bit of the direct map's entries (set_memory_ptpkey()): it protects nothing here, but it
 * splits, flushes and costs what a real one would. Once active the module stays: tables in use are pages of the pool.
 * Functions in which a pool allocates or frees are called ptpools_*, so that a trace shows whose event it is.
 */
#include "pools.h"
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/shrinker.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#define TRIES 8		/* refills for one request, as in replay/machine/decisions.py */

static char *strategy = "unprotected", *set = "";
module_param(strategy, charp, 0444);
module_param(set, charp, 0444);		/* NAME=VALUE+NAME=VALUE...; orders are written 9-4-2 */
static bool shrinks = true;
module_param(shrinks, bool, 0444);	/* false: without the strategy's shrinker */

static const struct strategy *const strategies[] = {
	&unprotected, &pte_mapped, &ctor_naive, &self_split, &small_reserve, &reserve_block, &reserve_block_percpu, &pba,
	&full_reserve, &unmapped_alloc, &pte_cache, &buddy_reserve,
};

const struct strategy *s;
struct parameters p = { .kernel_tables = 1 };
struct counters n;
unsigned long frames, *owned, *marked;
long held, held_max, at_boot, aside_left, aside_min;
bool active, off;	/* off: gives nothing any more, takes its own pages back */

static struct page *cleared(struct page *page)
{
	clear_page(page_address(page));
	init_page_count(page);
	page->mapping = NULL;
	page->index = 0;
	set_page_private(page, 0);
	return page;
}

static struct page *take_table(void)
{
	return p.magazine_order ? take_on_cpu(1 << p.magazine_order, p.reserve) : take(p.reserve);
}

static noinline void ptpools_asks(gfp_t gfp)
{
	ptp_asked(gfp);
}

static struct page *from_pool(gfp_t gfp)
{
	struct page *page = take_table();

	if (page) {
		inc(fast);
		return page;
	}
	if (!gfpflags_allow_blocking(gfp)) {
		inc(nulls_atomic);
		return NULL;
	}
	ptpools_asks(gfp);
	for (int tries = 0; !page && tries < TRIES; tries++) {
		if (!s->refill(&page))
			break;
		if (!page)
			page = take_table();
	}
	if (!page)
		inc(nulls);
	return page;
}

static noinline struct page *ptpools_ordinary(gfp_t gfp)
{
	return alloc_pages(gfp, 0);
}

/* The key of one table is set; a constructor that would need a table is not entered (ctor-naive). */
static void key_one(struct page *page)
{
	unsigned long pfn = page_to_pfn(page);

	if (s->recurses && tables_needed((unsigned long)pfn_to_kaddr(pfn), 1)) {
		inc(recursions);
		inc(unkeyed_tables);
		if (atomic_long_read(&n.recursions) == 1) {
			pr_warn("the constructor of a page table would split the direct map: its table would be constructed under the same lock\n");
			dump_stack();
		}
		return;
	}
	if (set_key(pfn, 1, KEY, true) == 0)
		set_bit(pfn, owned);
}

static struct page *pool_alloc(gfp_t gfp)
{
	struct page *page;

	if (!p.kernel_tables && !(gfp & __GFP_ACCOUNT)) {
		inc(bypassed);
		return NULL;
	}
	if (!active)
		return NULL;
	inc(allocs);
	if (off || (!s->pooled && !s->key_each))
		return NULL;
	if (mine()) {	/* a page table is wanted while a key is being set: nobody may refill then */
		inc(nested);
		return NULL;
	}
	if (!s->pooled && !gfpflags_allow_blocking(gfp)) {
		inc(nulls_atomic);
		return NULL;
	}
	page = s->pooled ? from_pool(gfp) : ptpools_ordinary(gfp);
	if (page && s->key_each)
		key_one(page);
	return page && s->pooled ? cleared(page) : page;
}

static void trim(struct work_struct *work)
{
	inc(scans);
	atomic_long_add(s->shrink(), &n.shrunk_pages);
}
static DECLARE_WORK(trim_work, trim);

/* A table that is freed loses the key. Where that cannot wait for a change, it keeps it: counted, not mended. */
static void unkey_one(unsigned long pfn)
{
	if (in_atomic() || irqs_disabled() || mine())
		inc(deferred_clears);
	else
		set_key(pfn, 1, 0, true);
}

static bool pool_free(struct page *page)
{
	unsigned long pfn = page_to_pfn(page);

	if (pfn >= frames)
		return false;
	if (!test_bit(pfn, owned)) {
		if (!s->adopts || off || !test_bit(block_of(pfn), marked) || mine())
			return false;
		inc(adopted);
		give(pfn, 1, 0);
		return true;
	}
	inc(frees);
	if (s->key_each)
		unkey_one(pfn);
	if (!s->pooled) {
		clear_bit(pfn, owned);
		return false;
	}
	if (p.magazine_order)
		put_on_cpu(page, 1 << p.magazine_order);
	else
		put(page);
	if (s->trims && whole_blocks() > p.spare_blocks && !off)
		schedule_work(&trim_work);
	return true;
}

static int pool_begin(unsigned long addr, int pages)
{
	int error = 0;

	if (!active || off || mine() || !s->outside || !tables_needed(addr, pages))
		return 0;
	if (in_atomic() || irqs_disabled()) {
		inc(prepare_atomic);
		return 0;
	}
	inc(prepared);
	error = s->outside(addr, pages);
	if (error) {
		inc(prepare_refused);
		return error;
	}
	enter(false);
	return 1;
}

static void pool_end(void)
{
	leave(mine());
	if (s->outside_done)
		s->outside_done();
}

static void starved(struct change *c, bool own)
{
	static atomic_t reports;

	if (own)
		inc(starved_own);
	else
		inc(starved_outside);
	if (atomic_inc_return(&reports) > 5)
		return;
	pr_warn("task %d: a split lacks a keyed table: %s change of %lu pages; the pool has %ld, %d tasks change the direct map\n",
		current->pid, own ? "the pool's own" : "another's", own ? c->pages : 0ul, cached, atomic_read(&changing));
	dump_stack();
}

static struct page *pool_table(void)
{
	struct change *c = mine();
	bool own = c && c->own;
	struct page *page = NULL;

	if (own)
		inc(own_tables);
	else
		inc(outside_tables);
	if (s->recurses && active) {	/* of a change by others: this table is constructed under the same lock */
		inc(recursions);
		inc(unkeyed_tables);
		return NULL;
	}
	if (s->tables == BUDDY || (!active && s->tables != ASIDE))
		return NULL;	/* at boot: "set aside before the page allocator runs" */
	if (s->tables == ASIDE)
		page = take_aside();
	else if (s->tables == OWN && own && c->spent < c->pages) {
		page = pfn_to_page(c->pfn + c->spent++);
		inc(unkeyed_tables);	/* it could be written to before it was linked */
	} else
		page = take(0);
	if (page)
		return cleared(page);
	starved(c, own);
	return NULL;
}

static const struct ptp_hooks hooks = {
	.alloc = pool_alloc,
	.free = pool_free,
	.begin = pool_begin,
	.end = pool_end,
	.table = pool_table,
};

/* ---------------------------------------------------------------------------------------------------- activation */

static unsigned long pool_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	long have = READ_ONCE(cached) - p.unshrinkable - p.keep;

	return have > 0 ? have : SHRINK_EMPTY;
}

static unsigned long pool_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	unsigned long freed;

	if (mine() || off)
		return SHRINK_STOP;
	inc(scans);
	freed = s->shrink();
	atomic_long_add(freed, &n.shrunk_pages);
	return freed ?: SHRINK_STOP;
}

static int switch_on(void)
{
	struct shrinker *shrinker = NULL;

	if (s->shrink && shrinks) {
		shrinker = shrinker_alloc(0, "ptpools");
		if (!shrinker)
			return -ENOMEM;
		shrinker->count_objects = pool_count;
		shrinker->scan_objects = pool_scan;
		shrinker->batch = s->batch;
	}
	smp_store_release(&ptp_hooks, &hooks);
	if (s->boot)
		s->boot();
	cached_min = cached;
	aside_min = aside_left;
	at_boot = held;
	smp_store_release(&active, true);
	if (shrinker)
		shrinker_register(shrinker);
	__module_get(THIS_MODULE);
	return 0;
}

/* 1: on. 0: supplies nothing any more, takes its own pages back. */
static ssize_t activate(struct file *file, const char __user *from, size_t length, loff_t *at)
{
	static DEFINE_MUTEX(once);
	int error = 0;
	char c;

	if (get_user(c, from))
		return -EFAULT;
	mutex_lock(&once);
	off = c == '0';
	if (off)
		fragment_undo();	/* the recorder needs memory, too */
	else if (!active)
		error = switch_on();
	mutex_unlock(&once);
	return error ?: length;
}

static const struct file_operations activate_fops = { .write = activate, .open = nonseekable_open };

static int __init ptpools_init(void)
{
	struct dentry *dir;
	int error;

	for (int i = 0; i < ARRAY_SIZE(strategies); i++)
		if (!strcmp(strategies[i]->name, strategy))
			s = strategies[i];
	if (!s)
		return -EINVAL;
	error = set_parameters(s->parameters, " ", s->parameters) ?: set_parameters(set, "+", s->parameters);
	if (error)
		return error;
	frames = NODE_DATA(0)->node_start_pfn + NODE_DATA(0)->node_spanned_pages;
	owned = vzalloc(BITS_TO_LONGS(frames) * sizeof(long));
	marked = vzalloc(BITS_TO_LONGS(block_of(frames) + 1) * sizeof(long));
	if (!owned || !marked || list_init() || dump_alloc())
		return -ENOMEM;
	fragment_memory();
	dir = debugfs_create_dir("ptpools", NULL);
	debugfs_create_file("activate", 0200, dir, NULL, &activate_fops);
	dump_init(dir);
	return 0;
}
module_init(ptpools_init);
MODULE_DESCRIPTION("page-table supplies, for comparison with a simulator");
MODULE_LICENSE("GPL");
