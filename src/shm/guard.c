/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A signal handler has no argument to carry its state, so this is the one file with a table of its
 * own. It is written only by the thread whose accesses fault, so the handler sees it whole.
 */
#include "shm/guard.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

struct guard {
	uint8_t *base; /* NULL: free */
	size_t bytes;
	bool hit;
};

static struct guard *guards;
static size_t n_guards;
static volatile unsigned n_hits;

static void on_bus_error(int signal, siginfo_t *info, void *context)
{
	uint8_t *at = info->si_addr;

	(void)context;
	for (size_t i = 0; i < n_guards; i++) {
		struct guard *g = &guards[i];

		if (!g->base || at < g->base || at >= g->base + g->bytes)
			continue;
		if (mmap(g->base, g->bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			break;
		g->hit = true;
		n_hits = n_hits + 1;
		return;
	}
	/* Not ours: the access is repeated and ends the process, as it should. */
	sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
}

int guard_init(size_t n_max)
{
	struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};

	guards = calloc(n_max, sizeof(*guards));
	if (!guards)
		return -ENOMEM;
	n_guards = n_max;
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, NULL) < 0)
		return -errno;
	return 0;
}

void guard_deinit(void)
{
	sigaction(SIGBUS, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
	n_guards = 0;
	free(guards);
	guards = NULL;
}

int guard_add(void *base, size_t bytes)
{
	for (size_t i = 0; i < n_guards; i++) {
		if (guards[i].base)
			continue;
		guards[i] = (struct guard){.base = base, .bytes = bytes};
		return (int)i;
	}
	return -ENOSPC;
}

void guard_remove(int number)
{
	guards[number] = (struct guard){0};
}

bool guard_is_hit(int number)
{
	return guards[number].hit;
}

unsigned guard_n_hits(void)
{
	return n_hits;
}
