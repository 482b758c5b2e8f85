/*
 * load frag MIB		touches memory and gives every other page back; stays
 * load pipes N			fills N pipes with kernel pages and half empties them; stays
 * load huge MIB		asks for huge pages
 * load secret PAGES		memfd_secret: every page leaves the direct map
 * load shared MIB WORKERS WAVES SEED
 *				a server with shared memory: in each wave the workers touch a page of every 2M of it,
 *				so that each has page tables of its own for all of it, and leave in scattered order
 *
 * Those that stay print a line when they are ready, and wait to be killed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lab.h"

#define HUGE (2ul << 20)

static void stay(const char *what)
{
	printf("load: %s is ready\n", what);
	fflush(stdout);
	for (;;)
		pause();
}

static void frag(size_t bytes)
{
	char *p = map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(p, bytes, MADV_NOHUGEPAGE);
	touch(p, bytes, PAGE);
	for (size_t i = 0; i < bytes; i += 2 * PAGE)
		madvise(p + i, PAGE, MADV_DONTNEED);
	stay("frag");
}

static void pipes(int n)
{
	static char page[PAGE];
	int ends[2];

	for (int i = 0; i < n; i++) {
		if (pipe(ends))
			die("pipe");
		fcntl(ends[1], F_SETFL, O_NONBLOCK);
		for (int j = 0; j < 16 && write(ends[1], page, PAGE) > 0; j++)
			;
		for (int j = 0; j < 8 && read(ends[0], page, PAGE) > 0; j++)
			;
	}
	stay("pipes");
}

static void huge(size_t bytes)
{
	char *p = map(bytes + HUGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	p = (char *)(((size_t)p + HUGE - 1) & ~(HUGE - 1));
	madvise(p, bytes, MADV_HUGEPAGE);
	touch(p, bytes, PAGE);
}

static void secret(size_t bytes)
{
	int fd = syscall(SYS_memfd_secret, 0);

	if (fd < 0 || ftruncate(fd, bytes))
		die("memfd_secret");
	touch(map(bytes, MAP_SHARED, fd), bytes, PAGE);
}

static void shared(size_t bytes, int workers, int waves, unsigned seed)
{
	char *p = map(bytes, MAP_SHARED | MAP_ANONYMOUS, -1);

	srand(seed);
	for (int wave = 0; wave < waves; wave++) {
		for (int i = 0; i < workers; i++) {
			int linger = 500 + rand() % 500; /* ms */
			pid_t child = fork();

			if (child < 0)
				die("fork");
			if (!child) {
				touch(p, bytes, HUGE);
				usleep(1000 * linger);
				_exit(0);
			}
		}
		while (wait(NULL) > 0)
			;
	}
}

int main(int argc, char **argv)
{
	size_t n = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;

	if (n && !strcmp(argv[1], "frag"))
		frag(n << 20);
	else if (n && !strcmp(argv[1], "pipes"))
		pipes(n);
	else if (n && !strcmp(argv[1], "huge"))
		huge(n << 20);
	else if (n && !strcmp(argv[1], "secret"))
		secret(n * PAGE);
	else if (argc == 6 && !strcmp(argv[1], "shared"))
		shared(n << 20, atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
	else
		return 2;
	return 0;
}
