/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/executor.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/fake.h"
#include "backend/local.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "shm/guard.h"

#define TIMERS_PER_TURN    4096
#define MALLOC_LARGE_BYTES (256 << 10)
#define MALLOC_TOP_BYTES   (4 << 20)
/* Of dispatch and reply. */
#define ROUNDS_PER_TURN 16
/* How often the spin looks at the clock, in rounds over the hot sessions. */
#define SPIN_ROUNDS 16
/* Quiet sessions are looked for so rarely because it reads a line of each. */
#define PARK_TURNS 64

/* ---- being told to stop --------------------------------------------------------------------------- */

static void on_keeper(struct loop_op *op, int result)
{
	(void)result;
	container_of(op, struct executor, keeper_op)->keeper_ready = true;
}

static void on_stop_timer(struct timer *timer, void *context)
{
	struct executor *e = context;

	(void)timer;
	if (e->stop == EXECUTOR_DRAINS)
		e->stop = EXECUTOR_CANCELS;
	else if (e->stop == EXECUTOR_CANCELS)
		e->stop = EXECUTOR_ENDS;
}

/* The first time drains, the next one cancels what still runs. */
static void stop_once_more(struct executor *e)
{
	if (e->stop == EXECUTOR_RUNS) {
		e->stop = EXECUTOR_DRAINS;
		timer_set(&e->loop.timers, &e->stop_timer,
			  e->loop.now_ns + e->limits->stop_grace_ms * NS_PER_MS);
	} else if (e->stop == EXECUTOR_DRAINS) {
		e->stop = EXECUTOR_CANCELS;
		timer_cancel(&e->loop.timers, &e->stop_timer);
	}
}

/* Each byte is one stop; the hang-up is the keeper's death. */
static void read_keeper(struct executor *e)
{
	char byte;
	ssize_t n = recv(e->start.keeper, &byte, 1, MSG_DONTWAIT);

	e->keeper_ready = false;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		e->stop = EXECUTOR_ENDS;
		return;
	}
	if (n > 0)
		stop_once_more(e);
	loop_poll_in(&e->loop, &e->keeper_op, e->start.keeper);
}

/* Every call that is not answered yet, queued or running. */
static void cancel_all(struct executor *e)
{
	list_for_each (l, &e->sessions.all) {
		struct session *s = container_of(l, struct session, link);

		for (uint32_t i = 0; s->calls && i < s->segment.sizes.n_calls; i++)
			if (s->calls[i] && !s->calls[i]->cancelled)
				dispatch_cancel(e, s->calls[i]);
	}
}

static bool is_drained(const struct executor *e)
{
	if (e->calls.n_queued || e->calls.n_running)
		return false;
	list_for_each (l, &e->sessions.all) {
		if (!list_empty(&container_of(l, struct session, link)->backlog))
			return false;
	}
	return true;
}

static void stop_step(struct executor *e)
{
	if (e->keeper_ready)
		read_keeper(e);
	if (e->stop == EXECUTOR_RUNS)
		return;
	slots_stop_waiting(e);
	if (e->stop == EXECUTOR_CANCELS && !timer_is_set(&e->stop_timer)) {
		cancel_all(e);
		/* What heeds no cancel, and results nobody takes, do not hold up the end for long. */
		timer_set(&e->loop.timers, &e->stop_timer,
			  e->loop.now_ns + e->limits->cancel_grace_ms * NS_PER_MS);
	}
	if (e->stop != EXECUTOR_ENDS && is_drained(e))
		e->stop = EXECUTOR_ENDS;
}

/* ---- one turn ------------------------------------------------------------------------------------- */

static void set_gauges(struct executor *e)
{
	struct tr_stats *s = e->stats.shared;

	stats_set(&s->sessions, e->sessions.n_sessions);
	stats_set(&s->trajectories, e->affinity.n_trajectories);
	stats_set(&s->slots, e->slots.n_made);
	stats_set(&s->slots_used, e->slots.n_used);
	stats_set(&s->calls_queued, e->calls.n_queued);
	stats_set(&s->calls_running, e->calls.n_running);
}

static uint64_t next_deadline(const struct executor *e)
{
	uint64_t next = timers_next(&e->loop.timers);

	return e->batches.due_ns < next ? e->batches.due_ns : next;
}

/* Looks at the rings of those who are awake for a while. true: there is something to do. */
static bool spin_for_work(struct executor *e)
{
	/* Who spins while slots run may keep them from a core; who waits for a client hardly does. */
	struct spin *spin = e->calls.n_running ? &e->spin_running : &e->spin;
	/* With as many running as there are cores, it would be from one of them. */
	bool may_spin = !list_empty(&e->sessions.hot) && e->calls.n_running < e->n_cores;
	uint32_t budget = may_spin ? spin_begin(spin) : 0;
	uint64_t until = now_ns() + budget;
	uint64_t deadline = next_deadline(e);

	if (!budget)
		return false;
	if (deadline < until)
		until = deadline;
	do {
		for (int i = 0; i < SPIN_ROUNDS; i++) {
			if (sessions_have_work(e) || loop_ready(&e->loop)) {
				spin_end(spin, budget, true);
				return true;
			}
			spin_pause();
		}
	} while (now_ns() < until);
	spin_end(spin, budget, false);
	return false;
}

static int rest(struct executor *e)
{
	int r;

	/* What was queued after its step of this turn is for the next one, which is now. */
	if (!list_empty(&e->sessions.events) || e->sessions.n_guard_hits != guard_n_hits())
		return 0;
	if (spin_for_work(e) || !sessions_park_all(e))
		return 0;
	set_gauges(e);
	stats_add(&e->stats.shared->sleeps_total, 1);
	r = loop_sleep(&e->loop, next_deadline(e));
	return r;
}

/* 0, or -errno if the loop is broken. */
static int turn(struct executor *e)
{
	e->turn++;
	e->did_work = false;
	e->loop.now_ns = now_ns();
	if (loop_reap(&e->loop))
		e->did_work = true;
	if (timers_fire(&e->loop.timers, e->loop.now_ns, e, TIMERS_PER_TURN))
		e->did_work = true;
	sessions_step(e);
	intake_step(e);
	affinity_step(e);
	/* What a trajectory has queued need not wait for a turn each where its backend answers at once. */
	for (int i = 0; i < ROUNDS_PER_TURN; i++) {
		dispatch_step(e);
		reply_step(e);
		if (list_empty(&e->batches.filled))
			break;
	}
	stop_step(e);
	sessions_flush(e);
	if (e->did_work) {
		stats_add(&e->stats.shared->turns_total, 1);
		set_gauges(e);
		if (e->turn % PARK_TURNS == 0)
			sessions_park_quiet(e);
		return 0;
	}
	return e->stop == EXECUTOR_ENDS ? 0 : rest(e);
}

/* ---- beginning and end ---------------------------------------------------------------------------- */

/*
 * The keeper says when to stop, and nobody else: a terminal or a service manager signals every process
 * of ours, which is one stop and not two.
 */
static void watch_keeper(struct executor *e)
{
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	e->keeper_op.complete = on_keeper;
	e->stop_timer.fire = on_stop_timer;
	loop_poll_in(&e->loop, &e->keeper_op, e->start.keeper);
}

size_t executor_backend_notes_bytes(const struct config *config, const struct plan *plan)
{
	return plan ? local_notes_bytes(config->n_slots_max, plan) : 0;
}

static int make_local(struct executor *e, char *error, size_t n_error)
{
	const struct limits *l = e->limits;
	struct local_options options = {
		.plan = e->start.plan,
		.notes = e->start.backend_notes,
		.store = e->start.store,
		.generation = (uint32_t)e->start.generation,
		.n_slots_min = e->config->n_slots_min,
		.n_slots_warm = e->config->n_slots_warm,
		.output_chars = l->output_chars,
		.file_chars = l->file_chars,
		.exec_output_bytes_max = l->exec_output_bytes_max,
		.artifact_bytes_max = l->artifact_bytes_max,
		.artifact_entries_max = l->artifact_entries_max,
		.anywhere_bytes_max = l->anywhere_bytes_max,
		.anywhere_entries_max = l->anywhere_entries_max,
		.grace_ns = l->slot_grace_ms * NS_PER_MS,
		.gone_ns = l->slot_gone_ms * NS_PER_MS,
	};

	return local_new(&e->backend, &e->loop, e->config->n_slots_max, &options, error, n_error);
}

static void free_backend(struct executor *e)
{
	switch (e->config->backend) {
	case CONFIG_BACKEND_LOCAL:
		e->backend = local_free(e->backend);
		break;
	case CONFIG_BACKEND_FAKE:
		e->backend = fake_free(e->backend);
		break;
	}
}

static int make_backend(struct executor *e, char *error, size_t n_error)
{
	const struct config *c = e->config;
	uint64_t window_ns;
	int r = -EINVAL;

	switch (c->backend) {
	case CONFIG_BACKEND_LOCAL:
		r = make_local(e, error, n_error);
		break;
	case CONFIG_BACKEND_FAKE:
		r = fake_new(&e->backend, &e->loop, c->n_slots_max, c->fake, error, n_error);
		break;
	}
	if (r == 0)
		r = e->backend->ops->start(e->backend);
	if (r < 0)
		return r;
	e->default_timeout_ns = e->backend->ops->default_timeout_ns(e->backend);
	if (c->default_timeout_ns != CONFIG_NS_UNSET)
		e->default_timeout_ns = c->default_timeout_ns;
	window_ns = e->backend->ops->batch_window_ns;
	if (c->batch_window_ns != CONFIG_NS_UNSET)
		window_ns = c->batch_window_ns;
	return batches_init(&e->batches, e->backend->n_targets, window_ns,
			    e->limits->batch_calls_max);
}

static int executor_init(struct executor *e, const struct executor_start *start, char *error,
			 size_t n_error)
{
	int r;

	*e = (struct executor){
		.config = start->config,
		.limits = &start->config->limits,
		.start = *start,
		.pidfd = -1,
	};
	/* What executor_deinit() looks at, however far the start came. */
	list_init(&e->arrived);
	list_init(&e->overdue);
	list_init(&e->slots.pool);
	list_init(&e->affinity.hold_pool);
	list_init(&e->affinity.recovered);
	sessions_init(&e->sessions);
	calls_init(&e->calls);
	buf_init(&e->intake, e->limits->call_bytes_max);
	buf_init(&e->scratch, e->limits->result_bytes_max);
	buf_init(&e->metadata, 1 << 20);
	e->n_cores = (size_t)sysconf(_SC_NPROCESSORS_ONLN);
	spin_init(&e->spin, e->n_cores > 1 ? (uint32_t)e->config->spin_ns : 0);
	e->spin_running = e->spin;
	stats_init(&e->stats, start->stats, start->generation);
	snprintf(error, n_error, "the start failed");
	r = loop_init(&e->loop, e->config->io_disable, error, n_error);
	if (r < 0)
		return r;
	e->pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (e->pidfd < 0)
		return -errno;
	r = affinity_init(&e->affinity, e->limits->trajectories_max);
	if (r == 0)
		r = slots_init(&e->slots, e->config->n_slots_max, start->notes);
	if (r == 0)
		r = make_backend(e, error, n_error);
	if (r == 0)
		r = sessions_start(e);
	if (r == 0) {
		watch_keeper(e);
		slots_recover(e);
	}
	return r;
}

static void executor_deinit(struct executor *e)
{
	/* Unless we were told to stop, the next executor finds what the backend has. */
	bool purge = e->stop != EXECUTOR_RUNS;

	if (e->backend) {
		/* Results of the last moment still reach the rings; nobody waits for room any more. */
		e->backend->ops->stop(e->backend, purge);
		reply_step(e);
		sessions_flush(e);
		sessions_end_all(e);
		e->backend->ops->stop(e->backend, purge);
		reply_step(e);
	}
	loop_deinit(&e->loop);
	sessions_deinit(e);
	batches_deinit(&e->batches);
	free_backend(e);
	slots_deinit(&e->slots);
	affinity_deinit(&e->affinity);
	calls_deinit(&e->calls);
	buf_deinit(&e->intake);
	buf_deinit(&e->scratch);
	buf_deinit(&e->metadata);
	fd_close(&e->pidfd);
}

/*
 * What a large message needed goes back to the kernel with it. Left to itself glibc learns from the
 * first of them to keep such memory on the heap, where small pieces pin it.
 */
static void tune_malloc(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, MALLOC_LARGE_BYTES);
	mallopt(M_TRIM_THRESHOLD, MALLOC_TOP_BYTES);
#endif
}

int executor_run(const struct executor_start *start)
{
	struct executor e;
	char error[512];
	int r;

	tune_malloc();
	r = executor_init(&e, start, error, sizeof(error));
	if (r < 0) {
		log_error("%s (%s)", error, strerror(-r));
		executor_deinit(&e);
		/* Short of memory or descriptors, a later start may do what this one could not. */
		return start->generation == 1 || r == -EPERM || r == -ENOSYS || r == -EINVAL
			       ? EXECUTOR_EXIT_CANNOT
			       : EXECUTOR_EXIT_FATAL;
	}
	if (write(start->keeper, "r", 1) != 1)
		e.stop = EXECUTOR_ENDS;
	while (r == 0 && e.stop != EXECUTOR_ENDS)
		r = turn(&e);
	if (r < 0)
		log_error("io_uring failed: %s", strerror(-r));
	executor_deinit(&e);
	return r < 0 ? EXECUTOR_EXIT_FATAL : EXECUTOR_EXIT_OK;
}
