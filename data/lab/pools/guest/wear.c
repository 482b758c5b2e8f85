/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wear NAME=VALUE...: makes and destroys objects of several kinds until memory is worn, then gives most of them back and
 * holds the others.
 *
 *	seed=1 steps=2000	steps, counted from when memory is as full as it is to be
 *	used=80			percent of memory that is to be in use; page cache counts as unused
 *	kinds=anon:3,thp:1,cache:2,file:1,pipe:1,names:1,process:1	weights: anonymous memory (4K, 2M pages), page cache of
 *				/dev/vda, tmpfs, pipes (pages of the kernel), directories (slab), processes (page tables)
 *	most=9			log2 of the pages of the largest object
 *	keep=4			one in so many is kept in the end, drawn; 1: all. order=1: every such one
 *
 * The objects stand in order of age. Half of what is destroyed is among the youngest 64, the rest is anything.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define MOST 200000
enum kind { ANON, THP, CACHE, TMPFS, PIPE, NAMES, PROCESS, KINDS };
static const char *const kinds[] = { "anon", "thp", "cache", "file", "pipe", "names", "process" };
static struct object {
	enum kind kind;
	unsigned id;
	int fd[2];
	char *p;
	size_t pages;
	pid_t pid;
} *o;
static int n, weight[KINDS], weights, most_log = 9, disk;
static unsigned long long state = 88172645463325252ull;
static unsigned next_id;
static size_t disk_pages;

static unsigned below(unsigned limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return limit ? (state >> 20) % limit : 0;
}

static unsigned long meminfo(const char *what)
{
	static int fd = -1;
	static char text[2048];
	ssize_t got;
	char *at;

	if (fd < 0)
		fd = open("/proc/meminfo", O_RDONLY);
	got = pread(fd, text, sizeof(text) - 1, 0);
	text[got > 0 ? got : 0] = 0;
	at = strstr(text, what);
	return at ? strtoul(at + strlen(what), NULL, 10) >> 10 : 0;
}

static size_t some_pages(void)
{
	size_t top = 1ul << below(most_log + 1);

	return top + below(top);
}

static char *anonymous(size_t pages, int advice)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p != MAP_FAILED)
		madvise(p, pages * PAGE, advice);
	return p == MAP_FAILED ? NULL : p;
}

static void touch(char *p, size_t pages, size_t step)
{
	for (size_t i = 0; i < pages; i += step)
		p[i * PAGE] = 1;
}

static int process(struct object *x)
{
	char c;

	x->pages = (1 + below(64)) * 512;
	if (pipe2(x->fd, O_CLOEXEC))
		return 0;
	x->pid = fork();
	if (!x->pid) {
		close_range(3, x->fd[0] - 1, 0); /* gates of others */
		close_range(x->fd[0] + 1, ~0u, 0);
		x->p = anonymous(x->pages, MADV_NOHUGEPAGE);
		if (x->p)
			touch(x->p, x->pages, 512);
		_exit(read(x->fd[0], &c, 1) < 0);
	}
	close(x->fd[0]);
	if (x->pid < 0)
		close(x->fd[1]);
	return x->pid > 0;
}

static int make(enum kind kind)
{
	struct object x = { kind, next_id++, { -1, -1 } };
	static char page[64 * PAGE];
	char path[64], name[96];

	sprintf(path, "/tmp/w%d-%u", (int)getpid(), x.id);
	x.pages = some_pages();
	switch (kind) {
	case ANON:
	case THP:
		if (kind == THP)
			x.pages = 512 * (2 + below(3));
		x.p = anonymous(x.pages, kind == THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		if (!x.p)
			return 0;
		touch(x.p, x.pages, 1);
		if (kind == THP && below(3) == 0) /* broken up */
			munmap(x.p + below(x.pages) * PAGE, PAGE);
		break;
	case CACHE:
		x.id = below(disk_pages - x.pages);
		for (size_t i = 0; i < x.pages; i += 64)
			if (pread(disk, page, PAGE * (x.pages - i < 64 ? x.pages - i : 64), (x.id + i) * PAGE) < 0)
				return 0;
		break;
	case TMPFS:
		x.fd[0] = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
		for (size_t i = 0; x.fd[0] >= 0 && i < x.pages; i++)
			if (pwrite(x.fd[0], page, 1, i * PAGE) != 1)
				break;
		if (x.fd[0] < 0)
			return 0;
		close(x.fd[0]);
		break;
	case PIPE:
		if (pipe2(x.fd, O_NONBLOCK))
			return 0;
		x.pages = 1 + below(16);
		for (size_t i = 0; i < x.pages && write(x.fd[1], page, PAGE) > 0; i++)
			;
		break;
	case NAMES:
		if (mkdir(path, 0700))
			return 0;
		x.pages = 1 + below(256);
		for (size_t i = 0; i < x.pages; i++) {
			sprintf(name, "%s/%zu", path, i);
			close(open(name, O_CREAT | O_WRONLY, 0600));
		}
		break;
	case PROCESS:
		if (!process(&x))
			return 0;
		break;
	default:
		return 0;
	}
	o[n++] = x;
	return 1;
}

static void undo(struct object x)
{
	char path[64], name[96];

	sprintf(path, "/tmp/w%d-%u", (int)getpid(), x.id);
	switch (x.kind) {
	case ANON:
	case THP:
		munmap(x.p, x.pages * PAGE);
		break;
	case CACHE:
		posix_fadvise(disk, x.id * PAGE, x.pages * PAGE, POSIX_FADV_DONTNEED);
		break;
	case TMPFS:
		unlink(path);
		break;
	case PIPE:
		close(x.fd[0]);
		close(x.fd[1]);
		break;
	case NAMES:
		for (size_t j = 0; j < x.pages; j++) {
			sprintf(name, "%s/%zu", path, j);
			unlink(name);
		}
		rmdir(path);
		break;
	case PROCESS:
		close(x.fd[1]);
		waitpid(x.pid, NULL, 0);
		break;
	default:
		break;
	}
}

static void destroy(int i)
{
	struct object x = o[i];

	memmove(o + i, o + i + 1, (n - 1 - i) * sizeof(*o));
	n--;
	undo(x);
}

static void thin(int keep, int in_order)
{
	int kept = 0;

	for (int i = 0; i < n; i++)
		if (in_order ? i % keep == 0 : below(keep) == 0)
			o[kept++] = o[i];
		else
			undo(o[i]);
	n = kept;
}

int main(int argc, char **argv)
{
	unsigned long steps = 2000, used = 80, total, unused = 0, limit;
	int keep = 4, in_order = 0;
	char *weighted = "anon:1";
	struct rlimit files = { 1000000, 1000000 };

	for (int i = 1; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!value++)
			return 2;
		if (!strncmp(argv[i], "seed=", 5)) state += atoi(value) * 7919ull;
		if (!strncmp(argv[i], "steps=", 6)) steps = atol(value);
		if (!strncmp(argv[i], "used=", 5)) used = atol(value);
		if (!strncmp(argv[i], "kinds=", 6)) weighted = value;
		if (!strncmp(argv[i], "most=", 5)) most_log = atoi(value);
		if (!strncmp(argv[i], "keep=", 5)) keep = atoi(value);
		if (!strncmp(argv[i], "order=", 6)) in_order = atoi(value);
	}
	for (int i = 0; i < 64; i++)
		below(2);
	setrlimit(RLIMIT_NOFILE, &files);
	disk = open("/dev/vda", O_RDONLY);
	disk_pages = disk < 0 ? 0 : lseek(disk, 0, SEEK_END) / PAGE;
	for (char *k = strtok(weighted, ","); k; k = strtok(NULL, ","))
		for (int i = 0; i < KINDS; i++)
			if (!strncmp(k, kinds[i], strlen(kinds[i])) && k[strlen(kinds[i])] == ':')
				weights += weight[i] = atoi(k + strlen(kinds[i]) + 1);
	o = mmap(NULL, MOST * sizeof(*o), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	total = meminfo("MemTotal:");
	limit = total * (100 - used) / 100;
	for (unsigned long step = 0, full = 0; full < steps; step++) {
		unsigned w = below(weights), kind = 0;

		if (step % 4 == 0)
			unused = meminfo("MemAvailable:");
		full += unused <= limit || full || n >= MOST - 1;
		/* below the mark mostly make, above mostly destroy */
		if (n == 0 || (unused > limit && n < MOST - 1 ? below(100) < 70 : below(100) < 30)) {
			while (w >= (unsigned)weight[kind])
				w -= weight[kind++];
			if (!make(kind)) {
				full++;
				if (n)
					destroy(below(n));
			}
		} else {
			destroy(below(2) ? n - 1 - (int)below(n < 64 ? n : 64) : (int)below(n));
		}
	}
	thin(keep, in_order);
	printf("ready: %d objects kept, %lu of %lu MiB unused\n", n, meminfo("MemAvailable:"), total);
	fflush(stdout);
	for (;;)
		pause();
}
