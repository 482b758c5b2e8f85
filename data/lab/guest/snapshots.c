/*
 * snapshots FOLDER HOW WHERE COMMAND...: runs a command while something records, with /proc read right before and after.
 *
 * HOW: ftrace (WHERE is tracefs: switches tracing on and off), boot (tracing is on already: no snapshot before), perf
 * (WHERE is CONTROL,ACKNOWLEDGE: the fifos of perf record --control). Everything is read into memory that was touched
 * beforehand and written to FOLDER/before and FOLDER/after only at the end, so that the snapshots do not disturb what
 * they show; the order of reading is mirrored, so that the ones nearest to the switch are the same before and after.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "lab.h"

#define FILES 6
static const char *names[FILES] = { "kpageflags", "pagetypeinfo", "zoneinfo", "vmstat", "meminfo", "buddyinfo" };
static struct {
	char *bytes;
	size_t size, used;
} files[2][FILES];
static double taken[2][2];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void write_text(const char *folder, const char *name, const char *text)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static void take(int moment)
{
	taken[moment][0] = now();
	for (int i = 0; i < FILES; i++) {
		int which = moment ? FILES - 1 - i : i, fd;
		size_t used = 0;
		ssize_t got;
		char path[64];

		snprintf(path, sizeof(path), "/proc/%s", names[which]);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			die(path);
		while ((got = read(fd, files[moment][which].bytes + used, files[moment][which].size - used)) > 0)
			used += got;
		files[moment][which].used = used;
		close(fd);
	}
	taken[moment][1] = now();
}

static void make_room(void)
{
	unsigned long spanned = 0, start, frames = 0;
	FILE *zones = fopen("/proc/zoneinfo", "r");
	char line[256];

	while (zones && fgets(line, sizeof(line), zones)) {
		sscanf(line, " spanned %lu", &spanned);
		if (sscanf(line, " start_pfn: %lu", &start) == 1 && spanned && start + spanned > frames)
			frames = start + spanned;
	}
	for (int moment = 0; moment < 2; moment++)
		for (int i = 0; i < FILES; i++) {
			size_t size = i ? 1 << 16 : frames * 8 + 4096;
			char *bytes = map(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);

			madvise(bytes, size, MADV_NOHUGEPAGE);
			memset(bytes, 1, size);
			files[moment][i].bytes = bytes;
			files[moment][i].size = size;
		}
}

static void keep(const char *folder, int moment)
{
	char path[300];

	mkdir(folder, 0755);
	snprintf(path, sizeof(path), "%s/%s", folder, moment ? "after" : "before");
	mkdir(path, 0755);
	for (int i = 0; i < FILES; i++) {
		FILE *to;

		snprintf(path, sizeof(path), "%s/%s/%s", folder, moment ? "after" : "before", names[i]);
		to = fopen(path, "w");
		if (!to || fwrite(files[moment][i].bytes, 1, files[moment][i].used, to) != files[moment][i].used)
			die(path);
		fclose(to);
	}
}

int main(int argc, char **argv)
{
	const char *folder = argv[1], *how = argc > 4 ? argv[2] : "";
	int boot = !strcmp(how, "boot"), ftrace = !strcmp(how, "ftrace"), perf = !strcmp(how, "perf");
	int control = -1, acknowledge = -1, status;
	char answer[16], path[300];
	double started, ended;
	FILE *notes;
	pid_t child;

	if (!boot && !ftrace && !perf) {
		fprintf(stderr, "snapshots FOLDER ftrace|boot|perf WHERE COMMAND...\n");
		return 2;
	}
	write_text("/proc/self", "oom_score_adj", "-1000");
	if (perf) {
		control = open(strtok(argv[3], ","), O_RDWR);
		acknowledge = open(strtok(NULL, ","), O_RDWR);
		if (control < 0 || acknowledge < 0)
			die("fifos");
	}
	make_room();
	take(0); /* a first time, so that reading has left its traces in the machine */
	take(1);
	if (!boot)
		take(0);
	started = now();
	if (ftrace)
		write_text(argv[3], "tracing_on", "1");
	if (perf && (write(control, "enable\n", 7) != 7 || read(acknowledge, answer, sizeof(answer)) <= 0))
		die("perf");
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		write_text("/proc/self", "oom_score_adj", "0");
		execvp(argv[4], argv + 4);
		die(argv[4]);
	}
	waitpid(child, &status, 0);
	if (!perf)
		write_text(argv[3], "tracing_on", "0");
	else if (write(control, "disable\n", 8) != 8 || read(acknowledge, answer, sizeof(answer)) <= 0)
		die("perf");
	ended = now();
	take(1);
	for (int moment = boot; moment < 2; moment++)
		keep(folder, moment);
	snprintf(path, sizeof(path), "%s/recording.txt", folder);
	notes = fopen(path, "w");
	if (!notes)
		die(path);
	fprintf(notes, "recorder %s, exit status 0x%x\nCLOCK_MONOTONIC:", how, status);
	if (!boot)
		fprintf(notes, " before %.6f..%.6f,", taken[0][0], taken[0][1]);
	fprintf(notes, " traced %.6f..%.6f, after %.6f..%.6f\n", started, ended, taken[1][0], taken[1][1]);
	fclose(notes);
	return status != 0;
}
