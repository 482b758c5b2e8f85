// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * /sys/kernel/debug/ptpool: the direct map in large pages or all in 4K ones, there and back while the machine runs.
 *
 *	pages	read or write "large" (as it was when the module was loaded) or "4K"
 *	leaves	how much is mapped by leaves of each size, found by walking the page tables
 *
 * For ptpool replay calibrate --direct-map, which runs the same workload on both. x86-64 only, not under Xen PV, and not
 * with encrypted memory. Nothing else has to stand still: every leaf is replaced by a table with the same permissions, as
 * split_large_page() does it (arch/x86/mm/pat/set_memory.c), and put back, with all CPUs stopped for a moment, if nobody has
 * changed a permission in that table meanwhile. What somebody changed stays split. Tables are made once and kept until the module goes.
 * /proc/meminfo does not notice: its DirectMap lines count what the kernel itself splits.
 */
#include <linux/cc_platform.h>
#include <linux/debugfs.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/stop_machine.h>
#include <linux/uaccess.h>
#include <asm/pgtable.h>

#define ENTRIES 512
#define BATCH 64
#define ADDRESS_BITS 0x000ffffffffff000ul
#define LARGE_PAT 0x1000ul /* bit 12 of a large leaf is PAT, not address */
#define TABLE (_PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY)

struct split {
	struct list_head list; /* a 1G leaf stands before the 2M leaves in its table */
	unsigned long *entry;  /* where the leaf stands */
	unsigned long leaf;
	unsigned long *table; /* what replaces it */
	int level;	      /* of the leaf: 2 PMD, 3 PUD */
	bool installed;
};

static LIST_HEAD(splits);
static DEFINE_MUTEX(lock);
static bool small;
static unsigned long changed; /* leaves that somebody changed, so that they were left alone */
static struct dentry *folder;
static struct mm_struct *kernel_mm;
static spinlock_t *pgd_spinlock;
static unsigned long last_frame;
static void (*flush_all)(void);

/* The i-th entry of the table that maps what a leaf does, with the same permissions. */
static unsigned long part(unsigned long leaf, int level, unsigned long i)
{
	unsigned long flags = leaf & ~ADDRESS_BITS, pat = leaf & LARGE_PAT;

	if (level == 3)
		return ((leaf & ADDRESS_BITS & PUD_MASK) + i * PMD_SIZE) | flags | pat;
	return ((leaf & ADDRESS_BITS & PMD_MASK) + i * PAGE_SIZE) | (flags & ~_PAGE_PSE) | (pat ? _PAGE_PAT : 0);
}

static bool same(unsigned long a, unsigned long b)
{
	return !((a ^ b) & ~(_PAGE_ACCESSED | _PAGE_DIRTY)); /* those the CPU sets */
}

/* Replace an entry if it is what it is taken to be, and make every CPU forget what it was. */
static bool replace(unsigned long *entry, unsigned long from, unsigned long to)
{
	bool is;

	spin_lock(pgd_spinlock);
	is = same(READ_ONCE(*entry), from);
	if (is)
		WRITE_ONCE(*entry, to);
	spin_unlock(pgd_spinlock);
	if (is)
		flush_all();
	return is;
}

static unsigned long pointer_to(const struct split *split)
{
	return __pa(split->table) | TABLE;
}

static bool unchanged(const struct split *split)
{
	for (unsigned long i = 0; i < ENTRIES; i++)
		if (!same(READ_ONCE(split->table[i]), part(split->leaf, split->level, i)))
			return false;
	return true;
}

/* Up to BATCH leaves, the last split first, with every CPU stopped: nobody is about to change an entry of a table that goes. */
static int put_back(void *data)
{
	struct list_head **at = data;

	for (int i = 0; i < BATCH && *at != &splits; i++, *at = (*at)->prev) { /* a 1G leaf's parts before it */
		struct split *split = list_entry(*at, struct split, list);

		if (!split->installed)
			continue;
		if (same(READ_ONCE(*split->entry), pointer_to(split)) && unchanged(split)) {
			WRITE_ONCE(*split->entry, split->leaf);
			split->installed = false;
		} else {
			changed++;
		}
	}
	return 0;
}

static int split_leaf(unsigned long *entry, int level)
{
	struct split *split = kmalloc(sizeof(*split), GFP_KERNEL);
	unsigned long *table = (void *)__get_free_page(GFP_KERNEL);

	if (!split || !table) {
		kfree(split);
		free_page((unsigned long)table);
		return -ENOMEM;
	}
	*split = (struct split){ .entry = entry, .leaf = READ_ONCE(*entry), .table = table, .level = level };
	for (unsigned long i = 0; i < ENTRIES; i++)
		table[i] = part(split->leaf, level, i);
	split->installed = replace(entry, split->leaf, pointer_to(split));
	changed += !split->installed;
	list_add_tail(&split->list, &splits);
	return 0;
}

static unsigned long *pud_at(unsigned long address)
{
	pgd_t *pgd = pgd_offset_pgd(kernel_mm->pgd, address);
	p4d_t *p4d;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, address);
	return p4d_none(*p4d) ? NULL : (unsigned long *)pud_offset(p4d, address);
}

static bool is_leaf(unsigned long entry)
{
	return entry & _PAGE_PRESENT && entry & _PAGE_PSE;
}

static bool is_table(unsigned long entry)
{
	return entry & _PAGE_PRESENT && !(entry & _PAGE_PSE);
}

static unsigned long *table_of(unsigned long entry)
{
	return __va(entry & ADDRESS_BITS);
}

/* Every large leaf of the direct map that is not split already. */
static int split_all(void)
{
	unsigned long start = (unsigned long)__va(0), end = (unsigned long)__va(last_frame << PAGE_SHIFT);
	int result = 0;

	for (unsigned long at = start; at < end && !result; at = (at & PUD_MASK) + PUD_SIZE) {
		unsigned long *pud = pud_at(at), *pmd;

		if (pud && is_leaf(*pud))
			result = split_leaf(pud, 3);
		if (result || !pud || !is_table(*pud))
			continue;
		pmd = table_of(*pud);
		for (int i = 0; i < ENTRIES && !result; i++) {
			if (is_leaf(pmd[i]))
				result = split_leaf(&pmd[i], 2);
			cond_resched();
		}
	}
	return result;
}

static int to_small(void)
{
	struct split *split;

	list_for_each_entry(split, &splits, list) {
		if (!split->installed) {
			split->installed = replace(split->entry, split->leaf, pointer_to(split));
			changed += !split->installed;
		}
		cond_resched();
	}
	small = true;
	return split_all();
}

static void to_large(void)
{
	struct list_head *at = splits.prev;

	while (at != &splits) {
		stop_machine(put_back, &at, NULL);
		flush_all();
		cond_resched();
	}
	small = false;
}

static ssize_t pages_write(struct file *file, const char __user *from, size_t n, loff_t *offset)
{
	char word[8] = "";
	int result = 0;

	if (n >= sizeof(word))
		return -EINVAL;
	if (copy_from_user(word, from, n))
		return -EFAULT;
	mutex_lock(&lock);
	if (sysfs_streq(word, "4K"))
		result = to_small();
	else if (sysfs_streq(word, "large"))
		to_large();
	else
		result = -EINVAL;
	mutex_unlock(&lock);
	return result ?: n;
}

static int pages_show(struct seq_file *out, void *unused)
{
	seq_puts(out, small ? "4K\n" : "large\n");
	return 0;
}

static int pages_open(struct inode *inode, struct file *file)
{
	return single_open(file, pages_show, NULL);
}

static const struct file_operations pages_ops = {
	.owner = THIS_MODULE,
	.open = pages_open,
	.read = seq_read,
	.write = pages_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static int leaves_show(struct seq_file *out, void *unused)
{
	unsigned long start = (unsigned long)__va(0), end = (unsigned long)__va(last_frame << PAGE_SHIFT);
	unsigned long kib[4] = {};

	mutex_lock(&lock);
	for (unsigned long at = start; at < end; at = (at & PUD_MASK) + PUD_SIZE) {
		unsigned long *pud = pud_at(at), *pmd;

		if (pud && is_leaf(*pud))
			kib[3] += PUD_SIZE >> 10;
		if (!pud || !is_table(*pud))
			continue;
		pmd = table_of(*pud);
		for (int i = 0; i < ENTRIES; i++) {
			if (is_leaf(pmd[i]))
				kib[2] += PMD_SIZE >> 10;
			else if (is_table(pmd[i]))
				for (int j = 0; j < ENTRIES; j++)
					kib[1] += table_of(pmd[i])[j] & _PAGE_PRESENT ? PAGE_SIZE >> 10 : 0;
		}
		cond_resched();
	}
	mutex_unlock(&lock);
	seq_printf(out, "4K %lu kB\n2M %lu kB\n1G %lu kB\nleft alone, because somebody changed them: %lu\n", kib[1], kib[2],
		   kib[3], changed);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(leaves);

static void *symbol(unsigned long (*find)(const char *), const char *name)
{
	void *found = (void *)find(name);

	if (!found)
		pr_err("direct_map: this kernel has no %s\n", name);
	return found;
}

static int __init direct_map_init(void)
{
	/* what is needed is not exported: a kprobe tells where kallsyms_lookup_name() is */
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long (*find)(const char *);
	unsigned long *frames;
	int result;

	if (cc_platform_has(CC_ATTR_MEM_ENCRYPT)) {
		pr_err("direct_map: not with encrypted memory\n");
		return -EOPNOTSUPP;
	}
	result = register_kprobe(&probe);
	if (result < 0)
		return result;
	find = (void *)probe.addr;
	unregister_kprobe(&probe);
	kernel_mm = symbol(find, "init_mm");
	pgd_spinlock = symbol(find, "pgd_lock");
	flush_all = symbol(find, "flush_tlb_all");
	frames = symbol(find, "max_pfn");
	if (!kernel_mm || !pgd_spinlock || !flush_all || !frames)
		return -ENOENT;
	last_frame = *frames;
	folder = debugfs_create_dir("ptpool", NULL);
	debugfs_create_file("pages", 0600, folder, NULL, &pages_ops);
	debugfs_create_file("leaves", 0400, folder, NULL, &leaves_fops);
	return 0;
}

static void __exit direct_map_exit(void)
{
	struct split *split, *next;

	debugfs_remove_recursive(folder);
	to_large();
	synchronize_rcu(); /* whoever walks the tables without a lock */
	list_for_each_entry_safe(split, next, &splits, list) {
		if (!split->installed) /* otherwise the kernel's page tables are made of it */
			free_page((unsigned long)split->table);
		kfree(split);
	}
}

module_init(direct_map_init);
module_exit(direct_map_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("the direct map in large pages or all in 4K ones");
