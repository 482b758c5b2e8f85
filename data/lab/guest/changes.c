/*
 * changes SEED MIX CASES LEAVE_MIB: random permission changes through /proc/oracle, JSON lines on standard output.
 *
 * Takes nearly all free memory first: ranges can then cross blocks, 2M and 1G boundaries and touch no memory of others.
 * MIX: plain (small ranges around a few 2M blocks), rox (more set_memory_rox(), which collapses since 7.x),
 * gig (whole 1G and 2M leaves), valid (arm64: set_memory_valid()). The format is described in data/splits/README.txt.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "lab.h"

#define M2 512ul /* pages */
#define G1 (512 * M2)
#define BLOCK_ORDER 10
#define BLOCK (1ul << BLOCK_ORDER)
#define MOST 8192

/* ---- random numbers: xorshift ---- */

static unsigned long long random_state;

static unsigned long below(unsigned long n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 9) % n;
}

static int one_in(unsigned long n) { return below(n) == 0; }

#define PICK(array) ((array)[below(sizeof(array) / sizeof(*(array)))])

/* ---- the kernel: the oracle and /proc ---- */

static int oracle;

static char *slurp(int fd, char *to, size_t size)
{
	size_t n = 0;
	ssize_t got;

	while ((got = pread(fd, to + n, size - 1 - n, n)) > 0)
		n += got;
	to[n] = 0;
	return to;
}

static char *ask(const char *format, ...)
{
	static char command[80], answer[4 << 20];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	if (write(oracle, command, strlen(command)) < 0)
		die(command);
	return slurp(oracle, answer, sizeof(answer));
}

static long proc_value(const char *path, const char *name) /* -1: this kernel does not count that */
{
	static char text[1 << 16];
	int fd = open(path, O_RDONLY);
	char *at;

	if (fd < 0)
		die(path);
	at = strstr(slurp(fd, text, sizeof(text)), name);
	close(fd);
	return at ? atol(at + strlen(name)) : -1;
}

struct counters {
	long splits_2m, splits_1g, collapses_2m, collapses_1g;
};

static struct counters counters(void)
{
	return (struct counters){
		proc_value("/proc/vmstat", "direct_map_level2_splits "),
		proc_value("/proc/vmstat", "direct_map_level3_splits "),
		proc_value("/proc/vmstat", "direct_map_level2_collapses "),
		proc_value("/proc/vmstat", "direct_map_level3_collapses "),
	};
}

/* ---- what is written ---- */

static void put_walk(unsigned long pfn, unsigned long pages)
{
	unsigned long first, last;
	char flags[16], entry[20], *line, *rest = ask("walk %lx %lx", pfn, pages);
	const char *separator = "[";
	int level;

	while ((line = strsep(&rest, "\n")) && *line) {
		if (sscanf(line, "%lx %lx %d %15s %19s", &first, &last, &level, flags, entry) != 5)
			die(line);
		printf("%s[%lu,%lu,%d,\"%s\",\"%s\"]", separator, first, last, level, flags, entry);
		separator = ",";
	}
	printf("%s]", *separator == '[' ? "[" : "");
}

static void put_counters(void)
{
	struct counters now = counters();

	printf("\"counters\":{\"l2s\":%ld,\"l3s\":%ld,\"l2c\":%ld,\"l3c\":%ld},", now.splits_2m, now.splits_1g,
	       now.collapses_2m, now.collapses_1g);
	printf("\"directmap_kb\":[%ld,%ld,%ld]", proc_value("/proc/meminfo", "DirectMap4k:"),
	       proc_value("/proc/meminfo", "DirectMap2M:"), proc_value("/proc/meminfo", "DirectMap1G:"));
}

/* ---- the memory that is ours ---- */

static struct {
	unsigned long first, end;
} runs[MOST];
static int run_count;
static unsigned long owned_pages, first_frame, end_frame;

static int by_frame(const void *a, const void *b)
{
	unsigned long p = *(const unsigned long *)a, q = *(const unsigned long *)b;

	return (p > q) - (p < q);
}

static void take_memory(long leave_mib)
{
	static unsigned long blocks[MOST];
	int n = 0;

	while (n < MOST && proc_value("/proc/meminfo", "MemFree:") > leave_mib << 10 &&
	       sscanf(ask("own %x", BLOCK_ORDER), "%lx", &blocks[n]) == 1)
		n++;
	qsort(blocks, n, sizeof(*blocks), by_frame);
	for (int i = 0; i < n; i++) {
		if (!run_count || runs[run_count - 1].end != blocks[i])
			runs[run_count++].first = blocks[i];
		runs[run_count - 1].end = blocks[i] + BLOCK;
	}
	owned_pages = n * BLOCK;
	if (!n) {
		fprintf(stderr, "changes: no free block of order %d\n", BLOCK_ORDER);
		exit(1);
	}
}

static int owned(unsigned long pfn, unsigned long pages)
{
	for (int i = 0; i < run_count; i++)
		if (pfn >= runs[i].first && pfn + pages <= runs[i].end)
			return 1;
	return 0;
}

static unsigned long somewhere(void) /* a 2M block that is ours, all equally likely */
{
	unsigned long at = below(owned_pages);
	int i = 0;

	for (; at >= runs[i].end - runs[i].first; i++)
		at -= runs[i].end - runs[i].first;
	return (runs[i].first + at) & ~(M2 - 1);
}

static int boundaries(unsigned long *found, unsigned long before, unsigned long after)
{ /* 1G boundaries with that much owned on either side */
	int n = 0;

	for (unsigned long g = (first_frame | (G1 - 1)) + 1; g < end_frame; g += G1)
		if (owned(g - before, before + after))
			found[n++] = g;
	return n;
}

/* ---- what to change ---- */

static struct {
	const char *call;
	unsigned long pfn, pages;
} ops[256];
static int op_count, op_limit;

static void put(const char *call, unsigned long pfn, unsigned long pages)
{
	if (op_count < op_limit && owned(pfn, pages)) {
		ops[op_count].call = call;
		ops[op_count].pfn = pfn;
		ops[op_count++].pages = pages;
	}
}

static const char *undo(const char *call)
{
	static const char *pairs[][2] = { { "ro", "rw" }, { "rox", "rw" }, { "np", "p" }, { "uc", "wb" },
					  { "x", "nx" },  { "invalid", "valid" } };

	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
		if (!strcmp(pairs[i][0], call))
			return pairs[i][1];
	return NULL;
}

static unsigned long offset_in_block(unsigned long pages)
{
	switch (below(5)) {
	case 0:
		return below(M2); /* anywhere */
	case 1:
		return 0;
	case 2:
		return M2 - 1 - below(pages); /* across the end, or close to it; below 0 is refused by put() */
	case 3:
		return pages < M2 ? below(M2 / pages) * pages : 0; /* aligned to its size */
	default:
		return below(64) * 8;
	}
}

static void small_ranges(const char *mix)
{
	static const char *x86[] = { "ro", "rw", "ro", "rw", "np", "p", "uc", "wb", "nx", "x", "ro", "rw" };
	static const char *arm64[] = { "invalid", "valid" };
	static const unsigned long sizes[] = { 1,  1,  1,   1,	 4,   4, 4, 16, 16, M2,	  M2,  M2,
					       2,  3,  8,   64, 511, 513, 700, 1024, 1536, 16 };
	unsigned long edges[64], hot[5];
	int edge_count = boundaries(edges, BLOCK, BLOCK), hot_count = 2 + below(4);

	for (int i = 0; i < hot_count; i++) /* a few places: changes then meet earlier ones */
		hot[i] = edge_count && one_in(3) ? edges[below(edge_count)] - M2 * below(2) : somewhere();
	while (op_count < op_limit) {
		const char *call = !strcmp(mix, "valid") ? PICK(arm64) : PICK(x86);
		unsigned long pages = PICK(sizes), block = hot[below(hot_count)], pfn = block + offset_in_block(pages);

		if (one_in(16)) { /* many whole blocks, or a whole 1G leaf */
			pages = one_in(4) ? G1 : M2 * (1 + below(40));
			pfn = pages == G1 ? block & ~(G1 - 1) : block;
		}
		if (strcmp(mix, "valid")) {
			if (one_in(40))
				call = "4k";
			if (one_in(!strcmp(mix, "rox") ? 5 : 30)) {
				call = "rox";
				if (!one_in(4)) {
					pages = M2 * (1 + below(2));
					pfn = block;
				}
			}
		}
		put(call, pfn, pages);
		if (undo(call) && one_in(2))
			put(undo(call), pfn, pages);
		if (!strcmp(mix, "rox") && one_in(4)) {
			put("rw", block, M2);
			put("rox", block, M2);
		}
	}
}

static void whole_leaves(void)
{
	unsigned long gigs[64], gig, block, at;
	int gig_count = boundaries(gigs, 0, G1);

	if (!gig_count) {
		small_ranges("rox");
		return;
	}
	while (op_count < op_limit) {
		gig = gigs[below(gig_count)];
		block = gig + M2 * below(512);
		at = block + below(M2 - 12);
		switch (below(11)) {
		case 0:
			put("rox", gig, G1);
			break;
		case 1:
			put("ro", gig, G1);
			put("rw", gig, G1);
			break;
		case 2:
			put("rw", gig, G1);
			break;
		case 3: /* a 1G leaf in two, and whole again */
			put("ro", block, M2);
			put("rw", block, M2);
			put("rox", gig, G1);
			break;
		case 4: /* a 2M leaf in pieces, and whole again */
			put("ro", at, 1 + below(12));
			put("rw", block, M2);
			put("rox", block, M2);
			break;
		case 5:
			put("rox", block, M2);
			put("rox", gig, G1);
			break;
		case 6:
			at = M2 * (1 + below(8));
			put("ro", block, at);
			put("rw", block, at);
			break;
		case 7:
			put("nx", gig, G1);
			put("rw", gig, G1);
			break;
		case 8: /* across a 1G boundary */
			put("ro", gig - 1 - below(511), 2 + below(600));
			put("rw", gig - M2, 2 * M2);
			break;
		case 9:
			put("np", at, 1);
			put("p", at, 1);
			break;
		case 10: /* both levels in pieces, and whole again */
			put("ro", at, 4);
			put("rw", at, 4);
			put("ro", block, M2);
			put("rw", block, M2);
			put("rox", gig, G1);
		}
	}
}

/* ---- making the changes ---- */

static void put_regions(const char *type, int number, const unsigned long *regions, int n)
{
	printf("{\"t\":\"%s\",\"case\":%d,\"regions\":[", type, number);
	for (int i = 0; i < n; i++) {
		unsigned long end = regions[i] + G1 < end_frame ? regions[i] + G1 : end_frame;

		printf("%s{\"pfn\":%lu,\"npages\":%lu,\"walk\":", i ? "," : "", regions[i], end - regions[i]);
		put_walk(regions[i], end - regions[i]);
		printf("}");
	}
	printf("],");
	put_counters();
	printf("}\n");
}

static void change(int number, int i)
{
	unsigned long pfn = ops[i].pfn, pages = ops[i].pages;
	unsigned long first = pfn & ~(M2 - 1), end = (pfn + pages + M2 - 1) & ~(M2 - 1);
	struct counters before = counters(), after;
	int result = atoi(ask("set %s %lx %lx", ops[i].call, pfn, pages));

	after = counters();
	printf("{\"t\":\"op\",\"case\":%d,\"i\":%d,\"op\":\"%s\",\"pfn\":%lu,\"npages\":%lu,\"rc\":%d,", number, i,
	       ops[i].call, pfn, pages, result);
	if (before.splits_2m >= 0)
		printf("\"d_l2s\":%ld,\"d_l3s\":%ld,", after.splits_2m - before.splits_2m,
		       after.splits_1g - before.splits_1g);
	if (before.collapses_2m >= 0)
		printf("\"d_l2c\":%ld,\"d_l3c\":%ld,", after.collapses_2m - before.collapses_2m,
		       after.collapses_1g - before.collapses_1g);
	printf("\"after\":");
	put_walk(first, (end < end_frame ? end : end_frame) - first);
	printf("}\n");
}

static void run_case(int number, const char *mix)
{
	unsigned long regions[64];
	int n = 0, j;

	op_count = 0;
	op_limit = 36 + below(19);
	if (!strcmp(mix, "gig"))
		whole_leaves();
	else
		small_ranges(mix);
	for (int i = 0; i < op_count; i++) /* the 1G regions that are touched */
		for (unsigned long g = ops[i].pfn & ~(G1 - 1); g < ops[i].pfn + ops[i].pages; g += G1) {
			for (j = 0; j < n && regions[j] != g; j++)
				;
			if (j == n && n < 64)
				regions[n++] = g;
		}
	put_regions("before", number, regions, n);
	for (int i = 0; i < op_count; i++)
		change(number, i);
	put_regions("after", number, regions, n);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct utsname kernel;
	int cases;

	if (argc != 5) {
		fprintf(stderr, "changes SEED MIX CASES LEAVE_MIB\n");
		return 2;
	}
	random_state = strtoul(argv[1], NULL, 0) * 0x9E3779B97F4A7C15ull + 1;
	cases = atoi(argv[3]);
	for (int i = 0; i < 16; i++)
		below(2);
	oracle = open("/proc/oracle", O_RDWR);
	if (oracle < 0)
		die("/proc/oracle");
	sscanf(ask("span"), "%lx %lx", &first_frame, &end_frame);
	take_memory(atol(argv[4]));
	uname(&kernel);
	printf("{\"t\":\"meta\",\"kernel\":\"%s\",\"machine\":\"%s\",", kernel.release, kernel.machine);
	printf("\"seed\":%s,\"mode\":\"%s\",\"cases\":%d,", argv[1], argv[2], cases);
	printf("\"first_pfn\":%lu,\"max_pfn\":%lu,\"owned_runs\":[", first_frame, end_frame);
	for (int i = 0; i < run_count; i++)
		printf("%s[%lu,%lu]", i ? "," : "", runs[i].first, runs[i].end - 1);
	printf("],");
	put_counters();
	printf(",\"map\":");
	put_walk(first_frame, end_frame - first_frame);
	printf("}\n");
	for (int i = 0; i < cases; i++)
		run_case(i, argv[2]);
	return 0;
}
