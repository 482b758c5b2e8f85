/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record FOLDER COMMAND...: what /proc says before and after, the trace between, and the pool switched on in between.
 *
 * Order: snapshot "before" (no pool yet), tracing on, pool on, COMMAND, tracing off, snapshot "after". All is read into
 * memory that was touched beforehand, and written at the end.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACING "/sys/kernel/tracing/"
#define POOL "/sys/kernel/debug/ptpools/"
static struct {
	const char *path, *name;
	size_t room, used;
	char *bytes;
} files[3][10] = { {
	{ "/proc/kpageflags", "kpageflags" },
	{ "/sys/kernel/debug/page_tables/kernel", "page_tables", 4 << 20 },
	{ POOL "pages", "pool_pages", 1 << 20 },
	{ POOL "stats", "pool_stats", 1 << 16 },
	{ "/proc/pagetypeinfo", "pagetypeinfo", 1 << 16 },
	{ "/proc/zoneinfo", "zoneinfo", 1 << 16 },
	{ "/proc/vmstat", "vmstat", 1 << 16 },
	{ "/proc/meminfo", "meminfo", 1 << 16 },
	{ "/proc/buddyinfo", "buddyinfo", 1 << 16 },
	{ POOL "free_lists", "free_lists" }, /* nearest to the start */
} };
#define FILES 10

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd >= 0) {
		if (write(fd, text, strlen(text)) < 0)
			perror(path);
		close(fd);
	}
}

static void take(int moment)
{
	for (int i = 0; i < FILES; i++) {
		int which = moment ? FILES - 1 - i : i, fd;
		ssize_t got;

		if (moment == 2 && files[0][which].room > 1 << 16) /* the small ones only */
			continue;
		fd = open(files[0][which].path, O_RDONLY);

		files[moment][which].used = 0;
		if (fd < 0)
			continue;
		while ((got = read(fd, files[moment][which].bytes + files[moment][which].used,
				   files[moment][which].room - files[moment][which].used)) > 0)
			files[moment][which].used += got;
		close(fd);
	}
}

int main(int argc, char **argv)
{
	unsigned long spanned = 0, start, frames = 0;
	FILE *zones = fopen("/proc/zoneinfo", "r");
	char line[256], path[300];
	int status;
	pid_t child;

	while (zones && fgets(line, sizeof(line), zones)) {
		sscanf(line, " spanned %lu", &spanned);
		if (sscanf(line, " start_pfn: %lu", &start) == 1 && spanned && start + spanned > frames)
			frames = start + spanned;
	}
	put("/proc/self/oom_score_adj", "-1000");
	files[0][0].room = frames * 8 + 4096;
	files[0][FILES - 1].room = frames * 16 + (1 << 17);
	memcpy(files[1], files[0], sizeof(files[0]));
	memcpy(files[2], files[0], sizeof(files[0]));
	for (int moment = 0; moment < 3; moment++)
		for (int i = 0; i < FILES; i++) {
			files[moment][i].bytes = mmap(NULL, files[moment][i].room, PROT_READ | PROT_WRITE,
						      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
			madvise(files[moment][i].bytes, files[moment][i].room, MADV_NOHUGEPAGE);
		}
	take(0);
	take(1); /* reading leaves its traces in the machine before they count */
	take(0);
	put(TRACING "tracing_on", "1");
	put(POOL "activate", "1");
	take(2);
	child = fork();
	if (!child) {
		put("/proc/self/oom_score_adj", "0");
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	waitpid(child, &status, 0);
	put(TRACING "tracing_on", "0");
	take(1);
	put(POOL "activate", "0"); /* what comes now is to get its page tables */
	for (int moment = 0; moment < 3; moment++) {
		static const char *names[] = { "before", "after", "active" };

		snprintf(path, sizeof(path), "%s/%s", argv[1], names[moment]);
		mkdir(path, 0755);
		for (int i = 0; i < FILES; i++) {
			FILE *to;

			if (!files[moment][i].used)
				continue;
			snprintf(path, sizeof(path), "%s/%s/%s", argv[1], names[moment], files[0][i].name);
			to = fopen(path, "w");
			if (!to || fwrite(files[moment][i].bytes, 1, files[moment][i].used, to) != files[moment][i].used)
				perror(path);
			fclose(to);
		}
	}
	printf("status 0x%x\n", status);
	return 0;
}
