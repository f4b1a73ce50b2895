/* SPDX-License-Identifier: Apache-2.0 */
/* The table of trajectories: how ids spread over it, whose they are, and who holds them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "executor/executor.h"

#define N_IDS      50000
#define BUCKET_MAX 12 /* with as many buckets as ids, even 9 would be rare */

static struct backend_op *released;

static void keep_op(struct backend *b, struct backend_op *op)
{
	(void)b;
	released = op;
}

static const struct backend_ops ops = {.release = keep_op};

struct world {
	struct executor executor;
	struct config config;
	struct backend backend;
	struct session sessions[4];
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	w->config.limits = LIMITS_DEFAULT;
	w->backend.ops = &ops;
	w->executor.config = &w->config;
	w->executor.limits = &w->config.limits;
	w->executor.backend = &w->backend;
	timers_init(&w->executor.loop.timers);
	for (int i = 0; i < 4; i++)
		list_init(&w->sessions[i].holds);
	released = NULL;
	*state = w;
	return affinity_init(&w->executor.affinity, N_IDS) ||
	       slots_init(&w->executor.slots, 4, NULL);
}

static int tear_down(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 4; i++)
		trajectory_session_ends(&w->executor, &w->sessions[i]);
	free(released ? container_of(released, struct slot_op, op) : NULL);
	affinity_deinit(&w->executor.affinity);
	slots_deinit(&w->executor.slots);
	timers_deinit(&w->executor.loop.timers);
	free(w);
	return 0;
}

static void spread(const struct affinity *a, const char *before, int width, const char *after)
{
	uint8_t *n = calloc(a->mask + 1, 1);
	uint8_t most = 0;
	char id[64];

	assert_non_null(n);
	for (unsigned i = 0; i < N_IDS; i++) {
		uint64_t hash;

		snprintf(id, sizeof(id), "%s%0*u%s", before, width, i, after);
		hash = affinity_hash(a, 1000, span_string(id));
		if (++n[hash & a->mask] > most)
			most = n[hash & a->mask];
	}
	free(n);
	assert_true(most <= BUCKET_MAX);
}

/* Ids as people choose them, of any length and differing at any place, spread evenly. */
static void ids_spread(void **state)
{
	struct world *w = *state;
	const struct affinity *a = &w->executor.affinity;

	spread(a, "", 1, "");
	spread(a, "trajectory-", 1, "");
	spread(a, "", 8, "");
	spread(a, "", 1, "-with-a-tail-that-is-the-same-for-all");
	spread(a, "0123456789abcdef", 16, "");
}

/* The hash depends on the owner, the length, and a seed nobody knows. */
static void hash_depends_on_all(void **state)
{
	struct world *w = *state;
	struct affinity *a = &w->executor.affinity;
	uint64_t hash = affinity_hash(a, 1, span_of("a\0", 1));

	assert_int_equal(affinity_hash(a, 1, span_of("a", 1)), hash);
	assert_int_not_equal(affinity_hash(a, 2, span_of("a", 1)), hash);
	assert_int_not_equal(affinity_hash(a, 1, span_of("a\0", 2)), hash);
	a->seed++;
	assert_int_not_equal(affinity_hash(a, 1, span_of("a", 1)), hash);
}

static struct trajectory *recover(struct world *w, uid_t uid, const char *id, uint32_t slot)
{
	struct slot_note note = {
		.uid = uid,
		.idle_ttl_ns = NS_PER_S,
		.kept = 1,
		.n_id = (uint8_t)strlen(id),
	};

	memcpy(note.id, id, strlen(id));
	return trajectory_recover(&w->executor, &note, slot);
}

/* One id of two users is two trajectories; one of the same user is not made twice. */
static void ids_belong_to_users(void **state)
{
	struct world *w = *state;
	struct trajectory *t = recover(w, 1, "a", 0);

	assert_non_null(t);
	assert_null(recover(w, 1, "a", 1));
	assert_non_null(recover(w, 2, "a", 1));
	assert_non_null(recover(w, 1, "aa", 2));
	assert_int_equal(w->executor.affinity.n_trajectories, 3);
	assert_int_equal(t->slot_state, TRAJECTORY_HAS_SLOT);
	assert_int_equal(t->slot, 0);
	assert_true(timer_is_set(&t->timer));
}

/* A session holds a trajectory once however often it uses it, and both ends' limits are kept. */
static void holds_are_counted_once(void **state)
{
	struct world *w = *state;
	struct executor *e = &w->executor;
	struct session *s = w->sessions;
	struct trajectory *t = recover(w, 1, "a", 0), *other = recover(w, 1, "b", 1);

	w->config.limits.trajectory_holders_max = 2;
	for (int i = 0; i < 6; i++)
		assert_int_equal(trajectory_hold(e, t, &s[i % 2]), 0);
	assert_int_equal(t->n_holds, 2);
	assert_int_equal(s[0].n_holds, 1);
	assert_int_equal(trajectory_hold(e, t, &s[2]), -EUSERS);
	w->config.limits.trajectories_per_session_max = 1;
	assert_int_equal(trajectory_hold(e, other, &s[0]), -EUSERS);
	/* Who is refused holds nothing, and who holds it still may use it. */
	assert_int_equal(s[2].n_holds, 0);
	assert_int_equal(trajectory_hold(e, t, &s[0]), 0);
	trajectory_drop_holds(e, t);
	assert_int_equal(t->n_holds, 0);
	assert_int_equal(s[0].n_holds, 0);
	assert_int_equal(trajectory_hold(e, t, &s[2]), 0);
}

/* The end of the last holder, and only of the last, gives the slot back with a reset. */
static void last_holder_gives_the_slot_back(void **state)
{
	struct world *w = *state;
	struct executor *e = &w->executor;
	struct session *s = w->sessions;
	struct trajectory *t = recover(w, 1, "a", 3);

	t->kept = false;
	assert_int_equal(trajectory_hold(e, t, &s[0]), 0);
	assert_int_equal(trajectory_hold(e, t, &s[1]), 0);
	trajectory_session_ends(e, &s[1]);
	assert_null(released);
	assert_int_equal(t->n_holds, 1);
	trajectory_session_ends(e, &s[0]);
	assert_non_null(released);
	assert_int_equal(released->kind, BACKEND_RELEASE);
	assert_int_equal(released->slot, 3);
	assert_true(released->reset);
	assert_int_equal(t->slot_state, TRAJECTORY_RELEASES);
}

/* One that was released and kept stays, whoever held it before. */
static void kept_slot_stays(void **state)
{
	struct world *w = *state;
	struct trajectory *t = recover(w, 1, "a", 3);

	assert_int_equal(trajectory_hold(&w->executor, t, &w->sessions[0]), 0);
	trajectory_session_ends(&w->executor, &w->sessions[0]);
	assert_null(released);
	assert_int_equal(t->slot_state, TRAJECTORY_HAS_SLOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ids_spread, set_up, tear_down),
		cmocka_unit_test_setup_teardown(hash_depends_on_all, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ids_belong_to_users, set_up, tear_down),
		cmocka_unit_test_setup_teardown(holds_are_counted_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(last_holder_gives_the_slot_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(kept_slot_stays, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
