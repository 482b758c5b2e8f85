/* What the guest's programs share. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096ul

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

static inline char *map(size_t bytes, int flags, int fd)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static inline void touch(char *p, size_t bytes, size_t step)
{
	for (size_t i = 0; i < bytes; i += step)
		p[i] = 1;
}
