/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ways of supplying page tables, as ptpool's replay/strategies/ has them: same names, parameters and decisions.
 *
 * A strategy is its parameters, its fast path (data), and up to four decisions (functions): boot, refill, outside (a
 * change of the direct map by others) and shrink. What all share is in pools.c, the lists of idle pages in list.c.
 */
#ifndef PTPOOLS_H
#define PTPOOLS_H

#define pr_fmt(fmt) "ptpools: " fmt

#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/ptp_hooks.h>

#define BLOCK_ORDER 9
#define BLOCK (1ul << BLOCK_ORDER)
#define block_of(pfn) ((pfn) >> BLOCK_ORDER)

/* Where the tables for splits come from; see Tables in replay/contract/actions.py. */
enum tables { BUDDY, POOL, ASIDE, OWN };

struct seq_file;

struct strategy {
	const char *name;
	const char *parameters;		/* NAME=DEFAULT ..., those of replay/strategies/NAME.py */
	enum tables tables;
	bool pooled;			/* page tables come from the pool */
	bool key_each;			/* the key is set on each table and cleared when it is freed */
	bool recurses;			/* a table for a split is constructed like any other, under the same lock */
	bool adopts;			/* single pages freed into a marked pageblock go to the pool */
	bool merges;			/* idle pages merge: a private buddy */
	bool trims;			/* a worker shrinks when more than spare_blocks whole blocks are idle */
	int (*boot)(void);
	/* 1: look again; with *served, that page is the table. 0: refused */
	int (*refill)(struct page **served);
	/* Others change attributes and need so many tables. 0: they may; outside_done() is called after it. */
	int (*outside)(unsigned long addr, int pages);
	void (*outside_done)(void);
	unsigned long (*shrink)(void);	/* pages freed */
	int batch;			/* of the registered shrinker */
};

extern const struct strategy unprotected, pte_mapped, ctor_naive, self_split, small_reserve, reserve_block,
	reserve_block_percpu, pba, full_reserve, unmapped_alloc, pte_cache, buddy_reserve;

/* Parameters of whichever strategy is loaded; those it does not have are 0. */
struct parameters {
	int reserve, block_order, last_order, refill_orders[4], refill_orders_count, mutex, magazine_order;
	int unshrinkable, shrink_block_min, shrink_batch, looks, isolates, spare_blocks, keep, kernel_tables;
};
extern struct parameters p;
extern const struct strategy *s;

#define COUNTERS(C) \
	C(allocs) C(frees) C(fast) C(nulls) C(nulls_atomic) C(bypassed) C(nested) C(refills) C(refills_overlapping) \
	C(own_tables) C(outside_tables) C(starved_own) C(starved_outside) C(recursions) C(unkeyed_tables) \
	C(key_sets) C(key_clears) C(key_failed) C(flushes) C(deferred_clears) C(adopted) C(isolated) \
	C(prepared) C(prepare_refused) C(prepare_atomic) C(changes_overlapping) \
	C(scans) C(shrunk_pages) C(shrunk_blocks) C(shrink_failed) C(lost)
struct counters {
#define C(name) atomic_long_t name;
	COUNTERS(C)
#undef C
	atomic_long_t tried[NR_PAGE_ORDERS], got[NR_PAGE_ORDERS];
};
extern struct counters n;
#define inc(what) atomic_long_inc(&n.what)

/* A task that changes the direct map: for the pool (own) or for others. */
struct change {
	struct task_struct *task;
	bool own;
	unsigned long pfn, pages, spent;	/* of an own one: what is changed; pages of it that became tables */
};

/* parameters.c */
int set_parameters(const char *from, const char *separator, const char *known);
void print_parameters(struct seq_file *m);

/* pools.c */
extern unsigned long frames;		/* page frames there are, at most */
extern unsigned long *owned;		/* bit per frame: a page of the pool, or a table with the key */
extern unsigned long *marked;		/* bit per block: pages freed into it are adopted */
extern long held, held_max, at_boot, aside_left, aside_min;
extern bool active, off;

/* change.c */
#define KEY 1

extern atomic_t changing;		/* tasks that do, now */
struct change *enter(bool own);
void leave(struct change *c);
struct change *mine(void);		/* of this task; NULL: it changes nothing */
int tables_needed(unsigned long addr, int pages);
int set_key(unsigned long pfn, unsigned long pages, int key, bool flush);
struct page *ptpools_first_free(const int *orders, int count, int *order);
bool key_chunk(struct page *page, int order, unsigned long *spent);
int key_and_give(struct page *page, int order);
void free_chunk(struct page *page, int order);
extern atomic_t refilling;	/* tasks between these two */
void refill_starts(void);
void refill_ends(void);
void step(const char *format, ...);

/* adversary.c */
void wait_for_others(void);		/* before a refill sets a key */
struct page *ptpools_chosen(int order);	/* alloc_pages(GFP_KERNEL | __GFP_NOWARN, order), unless it is at work */

/* list.c */
extern long cached, cached_min, cached_max;
long on_cpus(void);			/* idle pages on lists of CPUs */
extern spinlock_t list_lock;
int list_init(void);
struct page *take(long leave);		/* a page, if more than so many are on the shared list */
void give(unsigned long pfn, unsigned long pages, unsigned long spent);
void put(struct page *page);		/* a table comes back */
struct page *take_on_cpu(int batch, long leave);
void put_on_cpu(struct page *page, int batch);
struct chunk {
	unsigned long pfn;
	int order;
};
int idle_chunks(struct chunk *to, int most, bool largest_first);
int block_idle(unsigned long block, struct chunk *to, int most);
int idle_in_block(unsigned long block);
bool withdraw(unsigned long pfn, int order);	/* takes an idle chunk as it stands on its list */
void unwithdraw(unsigned long pfn, int order);
int give_back(struct chunk *chunks, int count, bool flush);	/* withdrawn ones: key cleared, freed; pages */
long whole_blocks(void);		/* idle chunks of a whole block, where pages merge */
bool is_idle(unsigned long pfn);
bool came_whole(unsigned long block);	/* and nothing of it was given back */
void not_whole(unsigned long block);

/* full_reserve.c */
struct page *take_aside(void);

/* dump.c, fragment.c */
void dump_init(struct dentry *dir);
int dump_alloc(void);
void fragment_memory(void);
void fragment_undo(void);
#endif
