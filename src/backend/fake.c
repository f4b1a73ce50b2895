/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fake.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/fake_script.h"
#include "base/clock.h"
#include "io/loop.h"
#include "wire/writer.h"

#define ANSWER_BYTES_KEPT 4096
#define TARGETS_MAX       1024

/* One op that is taken; pooled. */
struct run {
	struct list link;
	struct backend_op *op;
	struct timer timer;
	struct fake_script script;
	struct buf text; /* output or error, if made here */
	struct buf metadata;
	bool timed_out;
};

struct fake {
	struct backend backend;
	struct backend_ops ops; /* a copy, since its batch window is an option */
	struct list running;
	struct list pool;
	uint64_t acquire_ns;
	uint64_t release_ns;
	uint64_t n_executed;
	bool acquire_fails;
	bool release_fails;
};

static struct fake *to_fake(struct backend *b)
{
	return container_of(b, struct fake, backend);
}

/* ---- running -------------------------------------------------------------------------------------- */

static void fire(struct timer *timer, void *context);

static struct run *run_new(struct fake *f, struct backend_op *op)
{
	struct list *l = list_pop_front(&f->pool);
	struct run *run;

	if (l) {
		run = container_of(l, struct run, link);
	} else {
		run = calloc(1, sizeof(*run));
		if (!run)
			return NULL;
		list_init(&run->link);
		buf_init(&run->text, FAKE_OUTPUT_BYTES_MAX);
		buf_init(&run->metadata, SIZE_MAX);
		run->timer.fire = fire;
	}
	run->op = op;
	run->script = (struct fake_script){.verdict = TR_OK};
	run->timed_out = false;
	op->private = run;
	op->state = BACKEND_OP_TAKEN;
	op->answer = (struct backend_answer){.verdict = TR_OK};
	return run;
}

static void run_free(struct run *run)
{
	buf_deinit(&run->text);
	buf_deinit(&run->metadata);
	free(run);
}

static void answer(struct fake *f, struct backend_op *op, enum tr_verdict verdict,
		   const char *error)
{
	struct run *run = op->private;

	if (run) {
		timer_cancel(&f->backend.loop->timers, &run->timer);
		list_remove(&run->link);
	}
	op->answer.verdict = verdict;
	op->ended_ns = f->backend.loop->now_ns;
	if (error)
		op->answer.error = span_string(error);
	backend_done(&f->backend, op);
}

static int write_metadata(struct run *run)
{
	const struct backend_op *op = run->op;
	msgpack_packer p;
	int r;

	buf_clear(&run->metadata);
	r = buf_reserve(&run->metadata, op->arguments.n + fake_script_n_bytes(&run->script) + 64);
	if (r < 0)
		return r;
	wire_writer_init(&p, &run->metadata);
	msgpack_pack_map(&p, 2 + fake_script_n_members(&run->script));
	wire_write_string(&p, "backend");
	wire_write_string(&p, "fake");
	fake_script_write(&run->script, &run->metadata);
	wire_write_string(&p, "arguments");
	if (op->arguments.n)
		r = buf_append(&run->metadata, op->arguments.data, op->arguments.n);
	else
		r = msgpack_pack_map(&p, 0);
	return r;
}

static int write_filler(struct run *run)
{
	uint32_t n = run->script.n_output;
	int r;

	r = buf_reserve(&run->text, n);
	if (r < 0)
		return r;
	if (n)
		memset(run->text.data, 'x', n);
	run->op->answer.output = span_of(run->text.data, n);
	return 0;
}

/* As many bytes as the script wants, or argv, or the command. */
static int write_output(struct run *run)
{
	int r = -EINVAL;

	buf_clear(&run->text);
	if (run->script.has_output)
		return write_filler(run);
	if (run->script.argv.n)
		r = fake_script_join_argv(&run->script, &run->text);
	if (r == 0)
		run->op->answer.output = span_of(run->text.data, run->text.n);
	else
		run->op->answer.output = run->op->command;
	return r == -EINVAL ? 0 : r;
}

static const char *default_error(enum tr_verdict verdict)
{
	return verdict == TR_OK ? "" : "the script said so";
}

/* The end of an execution that was neither cancelled nor cut short. */
static void finish(struct fake *f, struct run *run)
{
	struct backend_op *op = run->op;
	int r;

	switch (run->script.fate) {
	case FAKE_EXECUTOR_DIES:
		kill(getpid(), SIGKILL);
		return;
	case FAKE_SLOT_DIES:
		op->answer.slot_lost = true;
		answer(f, op, TR_UNKNOWN, "the slot died; the call may have run");
		return;
	default:
		break;
	}
	r = write_output(run);
	if (r == 0)
		r = write_metadata(run);
	if (r < 0) {
		answer(f, op, TR_UNAVAILABLE, "out of memory");
		return;
	}
	op->answer.metadata = span_of(run->metadata.data, run->metadata.n);
	if (run->script.error.n)
		op->answer.error = run->script.error;
	answer(f, op, run->script.verdict,
	       run->script.error.n ? NULL : default_error(run->script.verdict));
}

static void fire(struct timer *timer, void *context)
{
	struct run *run = container_of(timer, struct run, timer);
	struct fake *f = container_of(run->op->holder, struct fake, backend);

	(void)context;
	if (run->op->kind == BACKEND_ACQUIRE && f->acquire_fails)
		answer(f, run->op, TR_UNAVAILABLE, "the fake backend gives no slots");
	else if (run->op->kind == BACKEND_RELEASE && run->op->reset && f->release_fails)
		answer(f, run->op, TR_UNAVAILABLE, "the fake backend resets nothing");
	else if (run->timed_out)
		answer(f, run->op, TR_TIMEOUT, "the call ran into its timeout");
	else if (run->op->kind == BACKEND_EXECUTE || run->op->kind == BACKEND_ARTIFACT)
		finish(f, run);
	else
		answer(f, run->op, TR_OK, NULL);
}

/* Lets an op end after wait_ns, now if that is 0. */
static void run_for(struct fake *f, struct run *run, uint64_t wait_ns)
{
	list_push_back(&f->running, &run->link);
	if (!wait_ns) {
		fire(&run->timer, f);
		return;
	}
	if (timer_set(&f->backend.loop->timers, &run->timer, now_ns() + wait_ns) < 0)
		answer(f, run->op, TR_UNAVAILABLE, "out of memory");
}

static void simple_op(struct backend *b, struct backend_op *op, uint64_t wait_ns)
{
	struct fake *f = to_fake(b);
	struct run *run = run_new(f, op);

	op->holder = b;
	if (run)
		run_for(f, run, wait_ns);
	else
		answer(f, op, TR_UNAVAILABLE, "out of memory");
}

static void fake_acquire(struct backend *b, struct backend_op *op)
{
	simple_op(b, op, to_fake(b)->acquire_ns);
}

static void fake_release(struct backend *b, struct backend_op *op)
{
	simple_op(b, op, to_fake(b)->release_ns);
}

static void fake_reset(struct backend *b, struct backend_op *op)
{
	simple_op(b, op, to_fake(b)->release_ns);
}

static void execute(struct fake *f, struct backend_op *op)
{
	struct run *run = run_new(f, op);
	uint64_t wait_ns;

	op->holder = &f->backend;
	op->started_ns = f->backend.loop->now_ns;
	f->n_executed++;
	if (!run) {
		answer(f, op, TR_UNAVAILABLE, "out of memory");
		return;
	}
	if (fake_script_parse(op->arguments, &run->script) < 0) {
		answer(f, op, TR_INVALID,
		       "arguments.fake must be a map of wait_s, verdict, error, output_bytes, "
		       "exit_code, signal, stdout, stderr and die");
		return;
	}
	if (run->script.fate == FAKE_HANGS) {
		list_push_back(&f->running, &run->link);
		return;
	}
	wait_ns = (uint64_t)(run->script.wait_s * (double)NS_PER_S);
	run->timed_out = wait_ns > op->timeout_ns;
	run_for(f, run, run->timed_out ? op->timeout_ns : wait_ns);
}

static void fake_execute_batch(struct backend *b, struct backend_op **ops, size_t n)
{
	for (size_t i = 0; i < n; i++)
		execute(to_fake(b), ops[i]);
}

static void fake_cancel(struct backend *b, struct backend_op *op)
{
	struct run *run = op->private;

	if (op->state != BACKEND_OP_TAKEN || (run && run->script.fate == FAKE_HANGS))
		return;
	answer(to_fake(b), op, TR_CANCELLED, "the call was cancelled");
}

static void fake_answer_taken(struct backend *b, struct backend_op *op)
{
	struct run *run = op->private;

	if (!run)
		return;
	op->private = NULL;
	buf_trim(&run->text, ANSWER_BYTES_KEPT);
	buf_trim(&run->metadata, ANSWER_BYTES_KEPT);
	list_push_front(&to_fake(b)->pool, &run->link);
}

/* ---- the rest of the seam ------------------------------------------------------------------------- */

static int fake_start(struct backend *b)
{
	(void)b;
	return 0;
}

static void fake_stop(struct backend *b, bool purge)
{
	struct fake *f = to_fake(b);

	(void)purge;
	list_for_each_safe (l, &f->running)
		answer(f, container_of(l, struct run, link)->op, TR_CANCELLED,
		       "toolringd is stopping");
}

static uint32_t fake_target(struct backend *b, uint32_t slot)
{
	return slot % b->n_targets;
}

static bool fake_adopt(struct backend *b, uint32_t slot)
{
	(void)b;
	(void)slot;
	return true;
}

static void fake_slot_name(struct backend *b, uint32_t slot, char *ret_name, size_t n)
{
	(void)b;
	snprintf(ret_name, n, "fake-%u", slot);
}

static int fake_health(struct backend *b, char *text, size_t n_text)
{
	(void)b;
	snprintf(text, n_text, "the fake backend is always well");
	return 0;
}

static int fake_stats(struct backend *b, struct buf *out)
{
	msgpack_packer p;
	int r;

	wire_writer_init(&p, out);
	r = wire_write_string(&p, "executed");
	if (r == 0)
		r = msgpack_pack_uint64(&p, to_fake(b)->n_executed);
	return r < 0 ? r : 1;
}

static uint64_t fake_default_timeout_ns(struct backend *b)
{
	(void)b;
	return 30 * NS_PER_S;
}

static const struct backend_ops fake_ops = {
	.name = "fake",
	.start = fake_start,
	.stop = fake_stop,
	.acquire = fake_acquire,
	.release = fake_release,
	.reset = fake_reset,
	.execute_batch = fake_execute_batch,
	.cancel = fake_cancel,
	.answer_taken = fake_answer_taken,
	.target = fake_target,
	.adopt = fake_adopt,
	.slot_name = fake_slot_name,
	.health = fake_health,
	.stats = fake_stats,
	.default_timeout_ns = fake_default_timeout_ns,
};

static int set_option(struct fake *f, const char *name, double value)
{
	if (!isfinite(value) || value < 0 || value > FAKE_WAIT_S_MAX)
		return -EINVAL;
	if (strcmp(name, "acquire_s") == 0)
		f->acquire_ns = (uint64_t)(value * (double)NS_PER_S);
	else if (strcmp(name, "release_s") == 0)
		f->release_ns = (uint64_t)(value * (double)NS_PER_S);
	else if (strcmp(name, "window_ms") == 0)
		f->ops.batch_window_ns = (uint64_t)(value * (double)NS_PER_MS);
	else if (strcmp(name, "acquire_fail") == 0 && (value == 0 || value == 1))
		f->acquire_fails = value == 1;
	else if (strcmp(name, "release_fail") == 0 && (value == 0 || value == 1))
		f->release_fails = value == 1;
	else if (strcmp(name, "targets") == 0 && value >= 1 && value <= TARGETS_MAX)
		f->backend.n_targets = (uint32_t)value;
	else
		return -EINVAL;
	return 0;
}

static int parse_options(struct fake *f, const char *options, char *error, size_t n_error)
{
	char text[256], *rest = text, *item;

	if (snprintf(text, sizeof(text), "%s", options ? options : "") >= (int)sizeof(text)) {
		snprintf(error, n_error, "fake: the options are too long");
		return -EINVAL;
	}
	while ((item = strsep(&rest, ","))) {
		char *value = strchr(item, '='), *end = NULL;
		double number = 0;

		if (!*item)
			continue;
		if (value) {
			*value++ = '\0';
			number = strtod(value, &end);
		}
		if (!value || end == value || *end || set_option(f, item, number) < 0) {
			snprintf(
				error, n_error,
				"fake: '%s%s%s' is not an option: acquire_s, release_s (0 to 3600), "
				"window_ms (0 to 3600), acquire_fail, release_fail (0 or 1), "
				"targets (1 to %d)",
				item, value ? "=" : "", value ? value : "", TARGETS_MAX);
			return -EINVAL;
		}
	}
	return 0;
}

int fake_new(struct backend **ret_backend, struct loop *loop, uint32_t n_slots_max,
	     const char *options, char *error, size_t n_error)
{
	struct fake *f = calloc(1, sizeof(*f));
	int r;

	if (!f) {
		snprintf(error, n_error, "out of memory");
		return -ENOMEM;
	}
	f->ops = fake_ops;
	f->backend.ops = &f->ops;
	f->backend.loop = loop;
	f->backend.n_slots_max = n_slots_max;
	f->backend.n_targets = 1;
	list_init(&f->backend.done);
	list_init(&f->running);
	list_init(&f->pool);
	r = parse_options(f, options, error, n_error);
	if (r < 0) {
		fake_free(&f->backend);
		return r;
	}
	*ret_backend = &f->backend;
	return 0;
}

struct backend *fake_free(struct backend *backend)
{
	struct fake *f;
	struct list *l;

	if (!backend)
		return NULL;
	f = to_fake(backend);
	while ((l = list_pop_front(&f->running)))
		run_free(container_of(l, struct run, link));
	while ((l = list_pop_front(&f->pool)))
		run_free(container_of(l, struct run, link));
	free(f);
	return NULL;
}
