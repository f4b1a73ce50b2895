/* SPDX-License-Identifier: Apache-2.0 */
/*
 * allocs_per_call: toolringd and a client of it run with alloc_count.c preloaded, which counts into
 * one shared word. The client is this program started anew, because preloading needs an exec.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_calls.h"
#include "bench_ring.h"
#include "cli.h"

#define N_WARM         50000
#define N_CALLS        100000
#define N_TRAJECTORIES 64
#define COUNT_VARIABLE "TOOLRING_ALLOC_COUNT"

/* Makes the shared word and names it in the environment of what is started from here on. */
static int counter_make(const char *dir, const uint64_t **ret_counter)
{
	char path[128];
	void *p;
	int fd;

	snprintf(path, sizeof(path), "%s/allocs", dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(uint64_t)) < 0) {
		close(fd);
		return -errno;
	}
	p = mmap(NULL, sizeof(uint64_t), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return -errno;
	setenv(COUNT_VARIABLE, path, 1);
	*ret_counter = p;
	return 0;
}

static const uint64_t *counter_map(void)
{
	const char *path = getenv(COUNT_VARIABLE);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *p = fd >= 0 ? mmap(NULL, sizeof(uint64_t), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (fd >= 0)
		close(fd);
	return p == MAP_FAILED ? NULL : p;
}

/* The client: writes how many allocations N_CALLS calls took, once warm, to standard output. */
static int run_client(int argc, char **argv)
{
	static struct bench_calls calls;
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	const uint64_t *counter = counter_map();
	uint64_t before;
	uint64_t n_allocs;
	uint64_t n;

	if (argc != 3 || !counter)
		return cli_usage(&command_bench, "alloc-client is bench ring's own");
	if (cli_open(&client, argv[1]) != 0)
		return CLI_INFRASTRUCTURE;
	bench_calls_init(&calls, client, TR_KIND_EXECUTE, N_TRAJECTORIES, 0);
	if (bench_calls_warm(&calls) < 0 || bench_calls_run(&calls, N_WARM, 0, &n) < 0)
		return CLI_INFRASTRUCTURE;
	before = __atomic_load_n(counter, __ATOMIC_ACQUIRE);
	if (bench_calls_run(&calls, strtoull(argv[2], NULL, 10), 0, &n) < 0)
		return CLI_INFRASTRUCTURE;
	n_allocs = __atomic_load_n(counter, __ATOMIC_ACQUIRE) - before;
	bench_calls_deinit(&calls);
	printf("%llu\n", (unsigned long long)n_allocs);
	return CLI_OK;
}

const struct command command_bench_alloc_client = {
	.name = "bench alloc-client",
	.synopsis = "SOCKET N",
	.summary = "the client of bench ring's allocs_per_call; of no other use",
	.run = run_client,
};

static _Noreturn void become_client(const struct bench_daemon *daemon, const char *preload,
				    uint64_t n_calls, int out)
{
	char number[24];

	snprintf(number, sizeof(number), "%llu", (unsigned long long)n_calls);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(out, STDOUT_FILENO);
	setenv("LD_PRELOAD", preload, 1);
	execl("/proc/self/exe", "toolring", "bench", "alloc-client", daemon->socket, number, NULL);
	_exit(127);
}

static int ask_client(const struct bench_daemon *daemon, const char *preload, uint64_t n_calls,
		      uint64_t *ret_n_allocs)
{
	unsigned long long n_allocs = 0;
	int pipe[2];
	FILE *file;
	int status;
	bool read;
	pid_t pid;

	if (pipe2(pipe, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		become_client(daemon, preload, n_calls, pipe[1]);
	close(pipe[1]);
	file = fdopen(pipe[0], "r");
	read = file && fscanf(file, "%llu", &n_allocs) == 1;
	if (file)
		fclose(file);
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0 || !read)
		return -EPIPE;
	*ret_n_allocs = n_allocs;
	return 0;
}

/* A sanitizer replaces the allocator itself and has to be loaded first. */
static bool has_sanitizer(void)
{
	return dlsym(RTLD_DEFAULT, "__asan_init") || dlsym(RTLD_DEFAULT, "__tsan_init");
}

int bench_ring_allocs(struct bench_ring *ring)
{
	_cleanup_(bench_cleanup_daemon) struct bench_daemon daemon = {0};
	char preload[4096];
	const struct bench_daemon_options options = {
		.program = ring->options->program, .core = ring->cores.theirs, .preload = preload};
	uint64_t n_calls = ring->options->quick ? 10000 : N_CALLS;
	const uint64_t *counter = NULL;
	uint64_t n_allocs = 0;
	int r;

	if (has_sanitizer()) {
		fprintf(stderr, "allocs_per_call: left out, a sanitizer is in the way\n");
		return 0;
	}
	r = bench_find_preload(preload, sizeof(preload));
	if (r < 0)
		return r;
	r = counter_make(ring->dir, &counter);
	if (r == 0)
		r = bench_daemon_start(&daemon, ring->dir, &options);
	/* A start that allocates nothing cannot be: then nothing counts. */
	if (r == 0 && __atomic_load_n(counter, __ATOMIC_ACQUIRE) == 0)
		r = -ENOTSUP;
	if (r == 0)
		r = ask_client(&daemon, preload, n_calls, &n_allocs);
	if (r < 0)
		return r;
	bench_ring_add(ring, &(struct bench_row){.name = "allocs_per_call",
						 .value = (double)n_allocs / (double)n_calls,
						 .unit = BENCH_COUNT,
						 .target = BENCH_AT_MOST,
						 .limit = 0});
	return 0;
}
