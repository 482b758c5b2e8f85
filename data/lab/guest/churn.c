/*
 * churn SEED ROUNDS: short-lived users of memory, mixed: forks and execs, maps that come and go, mremap, pipes, files,
 * shared memory. The same seed makes the same calls.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lab.h"

#define KEPT 64

static char buffer[16 * PAGE];

static size_t pages(int most) { return (1 + rand() % most) * PAGE; }

static void forks(void)
{
	for (int i = 1 + rand() % 4; i > 0; i--) {
		size_t bytes = pages(64);
		int exec = rand() % 3 == 0;

		if (fork() == 0) {
			touch(map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1), bytes, PAGE);
			if (exec)
				execl("/bin/true", "true", NULL);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
}

static void maps(void)
{
	static struct {
		char *p;
		size_t bytes;
	} kept[KEPT];
	int i = rand() % KEPT;

	if (kept[i].p) {
		munmap(kept[i].p, kept[i].bytes);
		kept[i].p = NULL;
		return;
	}
	kept[i].bytes = pages(512);
	kept[i].p = map(kept[i].bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	touch(kept[i].p, kept[i].bytes, PAGE * (1 + rand() % 3));
	if (rand() % 4 == 0)
		madvise(kept[i].p, kept[i].bytes / 2 & ~(PAGE - 1), MADV_DONTNEED);
}

static void remaps(void)
{
	size_t bytes = pages(128);
	char *p = map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	touch(p, bytes, PAGE);
	p = mremap(p, bytes, 2 * bytes, MREMAP_MAYMOVE);
	if (p != MAP_FAILED) {
		touch(p + bytes, bytes, PAGE);
		munmap(p, 2 * bytes);
	}
}

static void pipes(void)
{
	int ends[2], n = 1 + rand() % 16;

	if (pipe(ends))
		return;
	fcntl(ends[1], F_SETFL, O_NONBLOCK);
	while (n-- && write(ends[1], buffer, PAGE) > 0)
		;
	close(ends[0]);
	close(ends[1]);
}

static void one_file(void)
{
	int fd = open("/tmp/churn", O_RDWR | O_CREAT | (rand() % 2 ? O_TRUNC : O_APPEND), 0600), n = 1 + rand() % 16;

	while (n-- && write(fd, buffer, sizeof(buffer)) > 0)
		;
	close(fd);
	if (rand() % 3 == 0)
		unlink("/tmp/churn");
}

static void shared_memory(void)
{
	size_t bytes = pages(256);
	int fd = memfd_create("churn", 0);
	char *p;

	if (ftruncate(fd, bytes) == 0) {
		p = map(bytes, MAP_SHARED, fd);
		touch(p, bytes, PAGE);
		munmap(p, bytes);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	static void (*const kinds[])(void) = { forks, maps, remaps, pipes, one_file, shared_memory };

	if (argc != 3)
		return 2;
	srand(atoi(argv[1]));
	for (int rounds = atoi(argv[2]); rounds > 0; rounds--)
		kinds[rand() % (sizeof(kinds) / sizeof(*kinds))]();
	return 0;
}
