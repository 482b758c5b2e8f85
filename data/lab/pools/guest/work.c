/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work NAME=VALUE...: waves of processes; between the waves a storm of forks.
 *
 *	seed=1 waves=8		how often
 *	workers=6		processes of a wave, half to all of them; each maps one shared segment and touches a page in each 2M
 *	mib=256			of it: 4 page tables per 8 MiB and worker
 *	anon=0			pages of its own that each worker touches
 *	secrets=0 secret=60	processes with secret memory, of up to so many pages: each page splits the direct map
 *	storm=24		forks between waves, 8 at a time, each with up to 256 pages
 *
 * The same arguments make the same calls; what waits, waits for a pipe, not for a time.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define HUGE (2ul << 20)

static struct {
	const char *name;
	unsigned long value;
} of[] = { { "seed", 1 }, { "waves", 8 }, { "workers", 6 }, { "mib", 256 }, { "anon", 0 }, { "secrets", 0 }, { "secret", 60 },
	   { "storm", 24 } };
enum { SEED, WAVES, WORKERS, MIB, ANON, SECRETS, SECRET, STORM };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static char *map(size_t bytes, int flags, int fd)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void touch(char *p, size_t bytes, size_t step)
{
	for (size_t i = 0; i < bytes; i += step)
		p[i] = 1;
}

static void worker(char *p, size_t bytes)
{
	touch(p, bytes, HUGE);
	if (of[ANON].value) {
		char *own = map(of[ANON].value * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

		madvise(own, of[ANON].value * PAGE, MADV_NOHUGEPAGE);
		touch(own, of[ANON].value * PAGE, PAGE);
	}
}

static void secret(char *p, size_t bytes)
{
	int fd = syscall(SYS_memfd_secret, 0);

	if (fd < 0 || ftruncate(fd, bytes))
		die("memfd_secret");
	touch(map(bytes, MAP_SHARED, fd), bytes, PAGE);
}

/* A child that touches, says so, and lives until its gate is closed. */
static int spawn(void (*what)(char *, size_t), char *p, size_t bytes, int gate[2], int ready[2])
{
	pid_t child = fork();
	char c;

	if (child)
		return child > 0;
	close(gate[1]);
	close(ready[0]);
	what(p, bytes);
	_exit(write(ready[1], "r", 1) != 1 || read(gate[0], &c, 1) < 0);
}

static void storm(unsigned long forks)
{
	for (unsigned long i = 0; i < forks; i++) {
		size_t bytes = (1 + rand() % 256) * PAGE;

		if (fork() == 0) {
			touch(map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1), bytes, PAGE);
			_exit(0);
		}
		if (i % 8 == 7)
			while (wait(NULL) > 0)
				;
	}
	while (wait(NULL) > 0)
		;
}

int main(int argc, char **argv)
{
	int refused = 0, dead = 0, status;
	size_t bytes;
	char *p, c;

	for (int i = 1; i < argc; i++) {
		size_t known = sizeof(of) / sizeof(*of), which = 0, length = strcspn(argv[i], "=");

		while (which < known && (strncmp(argv[i], of[which].name, length) || of[which].name[length]))
			which++;
		if (which == known || !argv[i][length]) {
			fprintf(stderr, "work: %s is unknown\n", argv[i]);
			return 2;
		}
		of[which].value = strtoul(argv[i] + length + 1, NULL, 10);
	}
	srand(of[SEED].value);
	bytes = of[MIB].value << 20;
	p = map(bytes, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	touch(p, bytes, HUGE); /* the segment itself */
	for (unsigned long wave = 0; wave < of[WAVES].value; wave++) {
		int gate[2], ready[2], alive = 0, wanted = of[WORKERS].value / 2 + rand() % (of[WORKERS].value / 2 + 1);

		if (pipe(gate) || pipe(ready))
			die("pipe");
		for (int i = 0; i < wanted; i++)
			alive += spawn(worker, p, bytes, gate, ready);
		for (unsigned long i = 0; i < of[SECRETS].value; i++)
			alive += spawn(secret, NULL, (1 + rand() % of[SECRET].value) * PAGE, gate, ready);
		refused += wanted + of[SECRETS].value - alive;
		close(ready[1]);
		while (alive > 0) { /* all are there, or dead */
			struct pollfd wait_for = { ready[0], POLLIN, 0 };

			if (poll(&wait_for, 1, 500) > 0) {
				if (read(ready[0], &c, 1) <= 0)
					break;
				alive--;
			} else if (waitpid(-1, &status, WNOHANG) > 0) {
				dead += status != 0;
				alive--;
			}
		}
		close(ready[0]);
		close(gate[0]);
		close(gate[1]);
		while (wait(&status) > 0)
			dead += status != 0;
		storm(of[STORM].value);
	}
	printf("work: done, %d forks refused, %d children died\n", refused, dead);
	return 0;
}
