// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * /proc/oracle: what this kernel does to its direct map when permissions change.
 *
 * Write one command, read its answer (numbers are hexadecimal page frames and counts):
 *
 *	span			FIRST END		the frames that the direct map may cover
 *	own ORDER		PFN, or none		take a block of pages, for good
 *	set CALL PFN PAGES	RESULT (decimal)	set_memory_CALL(); invalid and valid are set_memory_valid(0 and 1)
 *	walk PFN PAGES		FIRST LAST LEVEL FLAGS ENTRY, a line per run of equal level and equal bits
 *
 * LEVEL is that of the leaf: 1 PTE, 2 PMD, 3 PUD, 0 nothing. ENTRY is a leaf without its physical address.
 */
#include <linux/kprobes.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/pgtable.h>

#define ANSWER_BYTES (4u << 20)

static unsigned long (*find_symbol)(const char *);
static struct mm_struct *kernel_mm;
static char *answer;
static size_t answer_len;
static DEFINE_MUTEX(lock);

#define say(...) (answer_len += scnprintf(answer + answer_len, ANSWER_BYTES - answer_len, __VA_ARGS__))

struct leaf {
	int level;
	unsigned long entry;
};

#ifdef CONFIG_X86
#define FIRST_FRAME 0ul
#define ADDRESS_BITS 0x000ffffffffff000ul

static unsigned long bits_of(struct leaf leaf)
{
	/* bit 12 of a large leaf is PAT, not address */
	unsigned long pat = leaf.level > 1 && leaf.entry & _PAGE_PRESENT ? 0x1000 : 0;

	return leaf.entry & (~ADDRESS_BITS | pat);
}

static void say_flags(struct leaf leaf)
{
	say("%c%c%c", leaf.entry & _PAGE_PRESENT ? 'P' : '-', leaf.entry & _PAGE_RW ? 'W' : 'r',
	    leaf.entry & _PAGE_NX ? '-' : 'X');
	say("%s%s%s", leaf.entry & _PAGE_PCD ? "C" : "", leaf.entry & _PAGE_PWT ? "T" : "",
	    leaf.entry & _PAGE_GLOBAL ? "G" : "");
}
#else /* arm64 */
#define FIRST_FRAME PHYS_PFN(memstart())
#define ADDRESS_BITS 0x0000fffffffff000ul

static phys_addr_t memstart(void)
{
	return *(s64 *)find_symbol("memstart_addr");
}

static unsigned long bits_of(struct leaf leaf)
{
	return leaf.entry & ~ADDRESS_BITS;
}

static void say_flags(struct leaf leaf)
{
	say("%c%c%c%s", leaf.entry & PTE_VALID ? 'P' : '-', leaf.entry & PTE_RDONLY ? 'r' : 'W',
	    leaf.entry & PTE_PXN ? '-' : 'X', leaf.entry & PTE_CONT ? "c" : "");
}
#endif

/* The leaf that maps a linear address, found as lookup_address() would. */
static struct leaf leaf_at(unsigned long address)
{
	pgd_t *pgd = pgd_offset_pgd(kernel_mm->pgd, address);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;
	pte_t *pte;

	if (pgd_none(*pgd))
		return (struct leaf){ 0, 0 };
	p4d = p4d_offset(pgd, address);
	if (p4d_none(*p4d))
		return (struct leaf){ 0, 0 };
	pud = pud_offset(p4d, address);
	if (pud_none(*pud))
		return (struct leaf){ 0, 0 };
	if (pud_leaf(*pud) || !pud_present(*pud))
		return (struct leaf){ 3, pud_val(*pud) };
	pmd = pmd_offset(pud, address);
	if (pmd_none(*pmd))
		return (struct leaf){ 0, 0 };
	if (pmd_leaf(*pmd) || !pmd_present(*pmd))
		return (struct leaf){ 2, pmd_val(*pmd) };
	pte = pte_offset_kernel(pmd, address);
	return (struct leaf){ pte_none(*pte) ? 0 : 1, pte_val(*pte) };
}

static void walk(unsigned long pfn, unsigned long pages)
{
	static const unsigned long size[] = { PAGE_SIZE, PAGE_SIZE, PMD_SIZE, PUD_SIZE };
	unsigned long address = (unsigned long)pfn_to_kaddr(pfn), end = address + (pages << PAGE_SHIFT);

	while (address < end) {
		unsigned long start = address;
		struct leaf first = leaf_at(start), next = first;

		do {
			address = min((address | (size[next.level] - 1)) + 1, end);
			next = leaf_at(address);
		} while (address < end && next.level == first.level && bits_of(next) == bits_of(first));
		say("%lx %lx %d ", PHYS_PFN(__pa(start)), PHYS_PFN(__pa(address - 1)), first.level);
		say_flags(first);
		say(" %lx\n", bits_of(first));
	}
}

static int set(const char *call, unsigned long pfn, unsigned long pages)
{
	unsigned long address = (unsigned long)pfn_to_kaddr(pfn);
	char name[32];
	int (*plain)(unsigned long, int);
	int (*valid)(unsigned long, int, int);

	if (!strcmp(call, "invalid") || !strcmp(call, "valid")) {
		valid = (void *)find_symbol("set_memory_valid");
		return valid ? valid(address, pages, !strcmp(call, "valid")) : -ENOENT;
	}
	snprintf(name, sizeof(name), "set_memory_%s", call);
	plain = (void *)find_symbol(name);
	return plain ? plain(address, pages) : -ENOENT;
}

static void obey(const char *command)
{
	unsigned long pfn, pages;
	struct page *page;
	char call[16];
	int order;

	answer_len = 0;
	if (!strcmp(command, "span")) {
		say("%lx %lx\n", FIRST_FRAME, *(unsigned long *)find_symbol("max_pfn"));
	} else if (sscanf(command, "own %x", &order) == 1) {
		page = alloc_pages(GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY, order);
		if (page)
			say("%lx\n", page_to_pfn(page));
		else
			say("none\n");
	} else if (sscanf(command, "set %15s %lx %lx", call, &pfn, &pages) == 3) {
		say("%d\n", set(call, pfn, pages));
	} else if (sscanf(command, "walk %lx %lx", &pfn, &pages) == 2) {
		walk(pfn, pages);
	} else {
		say("unknown command: %s\n", command);
	}
}

static ssize_t oracle_write(struct file *file, const char __user *from, size_t n, loff_t *offset)
{
	char command[80];

	if (n >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, from, n))
		return -EFAULT;
	command[n] = 0;
	mutex_lock(&lock);
	obey(command);
	mutex_unlock(&lock);
	return n;
}

static ssize_t oracle_read(struct file *file, char __user *to, size_t n, loff_t *offset)
{
	return simple_read_from_buffer(to, n, offset, answer, answer_len);
}

static const struct proc_ops oracle_ops = {
	.proc_write = oracle_write,
	.proc_read = oracle_read,
	.proc_lseek = default_llseek,
};

static int __init oracle_init(void)
{
	/* set_memory_*() and init_mm are not exported: a kprobe tells where kallsyms_lookup_name() is */
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int result = register_kprobe(&probe);

	if (result < 0)
		return result;
	find_symbol = (void *)probe.addr;
	unregister_kprobe(&probe);
	kernel_mm = (void *)find_symbol("init_mm");
	answer = vmalloc(ANSWER_BYTES);
	if (!kernel_mm || !answer || !proc_create("oracle", 0600, NULL, &oracle_ops)) {
		vfree(answer);
		return -ENOMEM;
	}
	return 0;
}

module_init(oracle_init); /* no exit: the guest is switched off */
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("permission changes of the direct map, on command");
