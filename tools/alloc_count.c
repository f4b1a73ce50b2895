/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts allocations: an object to preload (LD_PRELOAD) into toolringd and a client by
 * `toolring bench ring`. Every call of malloc() and its kin adds one to the 64-bit word at the start
 * of the file that $TOOLRING_ALLOC_COUNT names, which all counted processes map. Blocks are not
 * touched: each call goes on to the C library's own function.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *memalign(size_t alignment, size_t size);

static uint64_t *counter; /* NULL: nothing is counted */

static void *(*next_malloc)(size_t);
static void *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
static void *(*next_reallocarray)(void *, size_t, size_t);
static void *(*next_memalign)(size_t, size_t);
static void *(*next_aligned_alloc)(size_t, size_t);
static int (*next_posix_memalign)(void **, size_t, size_t);

static void find(const char *name, void *ret_function)
{
	void *f = dlsym(RTLD_NEXT, name);

	memcpy(ret_function, &f, sizeof(f));
}

/* Should dlsym() itself allocate, it is told that there is no memory, which it can live with. */
static void find_all(void)
{
	static int finding;

	if (finding)
		return;
	finding = 1;
	find("calloc", &next_calloc);
	find("realloc", &next_realloc);
	find("reallocarray", &next_reallocarray);
	find("memalign", &next_memalign);
	find("aligned_alloc", &next_aligned_alloc);
	find("posix_memalign", &next_posix_memalign);
	find("malloc", &next_malloc);
}

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("TOOLRING_ALLOC_COUNT");
	void *p;
	int fd;

	find_all();
	fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	p = mmap(NULL, sizeof(*counter), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		counter = p;
}

static void count(void)
{
	if (counter)
		__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

void *malloc(size_t size)
{
	count();
	if (!next_malloc)
		find_all();
	return next_malloc ? next_malloc(size) : NULL;
}

void *calloc(size_t n, size_t size)
{
	count();
	if (!next_malloc)
		find_all();
	return next_malloc ? next_calloc(n, size) : NULL;
}

void *realloc(void *p, size_t size)
{
	count();
	if (!next_malloc)
		find_all();
	return next_malloc ? next_realloc(p, size) : NULL;
}

void *reallocarray(void *p, size_t n, size_t size)
{
	count();
	return next_reallocarray ? next_reallocarray(p, n, size) : NULL;
}

void *memalign(size_t alignment, size_t size)
{
	count();
	return next_memalign ? next_memalign(alignment, size) : NULL;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	count();
	return next_aligned_alloc ? next_aligned_alloc(alignment, size) : NULL;
}

int posix_memalign(void **p, size_t alignment, size_t size)
{
	count();
	return next_posix_memalign ? next_posix_memalign(p, alignment, size) : ENOMEM;
}
