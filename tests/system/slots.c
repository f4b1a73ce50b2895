/* SPDX-License-Identifier: Apache-2.0 */
/* Shows how a trajectory comes by its slot, keeps it and loses it: ACQUIRE, RESET, RELEASE, idle time. */
#include "world.h"

static struct tr_value spec_of(const struct tr_member *member)
{
	return tr_map(member, 1);
}

static void refuse(struct tr_client *c, const char *trajectory, struct tr_member member,
		   const char *text)
{
	const struct tr_value spec = spec_of(&member);
	struct tr_result result = {0};

	assert_int_equal(tr_acquire(c, trajectory, &spec, &result, LONG_MS), 0);
	if (result.verdict != TR_INVALID || !strstr(result.error.data, text))
		print_error("spec.%s: %s: %s\n", member.key, tr_verdict_name(result.verdict),
			    result.error.data);
	assert_int_equal(result.verdict, TR_INVALID);
	assert_non_null(strstr(result.error.data, text));
	tr_result_deinit(&result);
}

/* A key of the spec that is not known is refused, naming those that are; no slot is taken. */
static void unknown_key_is_refused(void **state)
{
	static const char *const known[] = {"network", "memory", "pids", "disk", "idle_ttl_s"};
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, NULL);
	c = world_client(w);
	for (size_t i = 0; i < 5; i++)
		refuse(c, "a", (struct tr_member){"image", tr_string("debian")}, known[i]);
	assert_int_equal(status(c, "slots", "used"), 0);
	assert_int_equal(status(c, "trajectories", NULL), 0);
}

/* Each known key takes what it allows, and refuses the rest by its name. */
static void values_are_checked(void **state)
{
	static const struct {
		const char *key;
		struct tr_value good, bad[4];
	} keys[] = {
		{"network",
		 {.type = TR_STRING, .n = 4, .u.string = "none"},
		 {{.type = TR_STRING, .n = 3, .u.string = "all"},
		  {.type = TR_BOOL, .u.boolean = true},
		  {.type = TR_STRING, .n = 0, .u.string = ""},
		  {.type = TR_NIL}}},
		{"memory",
		 {.type = TR_INT, .u.integer = 1 << 30},
		 {{.type = TR_INT, .u.integer = 0},
		  {.type = TR_INT, .u.integer = -1},
		  {.type = TR_STRING, .n = 2, .u.string = "1G"},
		  {.type = TR_FLOAT, .u.real = 1e9}}},
		{"pids",
		 {.type = TR_INT, .u.integer = 100},
		 {{.type = TR_INT, .u.integer = 0},
		  {.type = TR_INT, .u.integer = -1},
		  {.type = TR_STRING, .n = 2, .u.string = "10"},
		  {.type = TR_ARRAY}}},
		{"disk",
		 {.type = TR_INT, .u.integer = 1 << 30},
		 {{.type = TR_INT, .u.integer = 0},
		  {.type = TR_INT, .u.integer = INT64_MIN},
		  {.type = TR_MAP},
		  {.type = TR_BINARY, .n = 1, .u.binary = "1"}}},
		{"idle_ttl_s",
		 {.type = TR_FLOAT, .u.real = 100.5},
		 {{.type = TR_INT, .u.integer = 0},
		  {.type = TR_FLOAT, .u.real = -1},
		  {.type = TR_FLOAT, .u.real = 1e300},
		  {.type = TR_STRING, .n = 2, .u.string = "10"}}},
	};
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, NULL);
	c = world_client(w);
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		struct tr_member member = {keys[i].key, keys[i].good};
		struct tr_value spec = spec_of(&member);

		slot_of(c, keys[i].key, &spec);
		for (size_t k = 0; k < 4; k++)
			refuse(c, "bad", (struct tr_member){keys[i].key, keys[i].bad[k]},
			       keys[i].key);
	}
	assert_int_equal(status(c, "slots", "used"), 5);
}

static enum tr_verdict ask(struct tr_client *c, struct tr_member member, const char *text)
{
	struct tr_value spec = spec_of(&member);
	struct tr_result result = {0};
	enum tr_verdict verdict;

	assert_int_equal(tr_acquire(c, "asks", &spec, &result, LONG_MS), 0);
	verdict = result.verdict;
	assert_non_null(strstr(result.error.n ? result.error.data : "", text));
	tr_result_deinit(&result);
	return verdict;
}

/* Policy is the operator's: a spec may ask for what is allowed or less, and never for more. */
static void more_than_allowed_is_denied(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, "--memory", "64M", "--disk=1M", "--pids=20", NULL);
	c = world_client(w);
	assert_int_equal(ask(c, (struct tr_member){"memory", tr_int((64 << 20) + 1)}, "67108864"),
			 TR_DENIED);
	assert_int_equal(ask(c, (struct tr_member){"disk", tr_int((1 << 20) + 1)}, "--disk"),
			 TR_DENIED);
	assert_int_equal(ask(c, (struct tr_member){"pids", tr_int(21)}, "--pids"), TR_DENIED);
	assert_int_equal(ask(c, (struct tr_member){"network", tr_string("host")}, "--network"),
			 TR_DENIED);
	assert_int_equal(status(c, "slots", "used"), 0);
	/* The twin: as much as is allowed. A slot that says nothing of itself is the same. */
	assert_int_equal(ask(c, (struct tr_member){"memory", tr_int(64 << 20)}, ""), TR_OK);
	assert_int_equal(ask(c, (struct tr_member){"disk", tr_int(1 << 20)}, ""), TR_OK);
	assert_int_equal(ask(c, (struct tr_member){"pids", tr_int(20)}, ""), TR_OK);
	assert_int_equal(ask(c, (struct tr_member){"network", tr_string("none")}, ""), TR_OK);
}

/* With the network allowed a spec may have it, and may do without. */
static void network_may_be_given_up(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, "--network=host", NULL);
	c = world_client(w);
	assert_int_equal(ask(c, (struct tr_member){"network", tr_string("host")}, ""), TR_OK);
	assert_int_equal(ask(c, (struct tr_member){"network", tr_string("none")}, "RELEASE"),
			 TR_INVALID);
	release(c, "asks", true);
	assert_int_equal(ask(c, (struct tr_member){"network", tr_string("none")}, ""), TR_OK);
}

/* A slot that is held stays what it is: another spec is refused, the same one is not. */
static void spec_of_a_held_slot_stays(void **state)
{
	const struct tr_member members[] = {{"pids", tr_int(100)}, {"memory", tr_int(1 << 30)}};
	const struct tr_value both = tr_map(members, 2), one = tr_map(members, 1);
	struct world *w = *state;
	struct tr_client *c;
	char before[64];

	world_start(w, NULL);
	c = world_client(w);
	snprintf(before, sizeof(before), "%s", slot_of(c, "a", &one));
	assert_string_equal(slot_of(c, "a", &one), before);
	assert_string_equal(slot_of(c, "a", NULL), before);
	refuse(c, "a", (struct tr_member){"pids", tr_int(101)}, "RELEASE it first");
	assert_string_equal(slot_of(c, "a", NULL), before);
	/* The twin: released, it may be another. */
	release(c, "a", true);
	slot_of(c, "a", &both);
}

/* RELEASE with a reset gives the slot to whoever waits for it. */
static void release_with_reset_frees(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t waiting;

	world_start(w, "--slots-max", "1", NULL);
	c = world_client(w);
	expect(c, "a", NULL, TR_OK);
	waiting = submit(c, "b", NULL);
	assert_true(is_pending(c, waiting));
	release(c, "a", true);
	expect_result(c, waiting, TR_OK);
	assert_int_equal(status(c, "trajectories", NULL), 1);
	release(c, "b", true);
	/* What holds nothing can be released as well. */
	release(c, "never-seen", true);
	assert_int_equal(status(c, "slots", "used"), 0);
	assert_int_equal(status(c, "trajectories", NULL), 0);
}

/* RELEASE without one keeps it for that id: no other gets it, and the next use finds it. */
static void release_without_reset_keeps(void **state)
{
	struct world *w = *state;
	struct tr_client *c, *other;
	uint64_t waiting;
	char before[64];

	world_start(w, "--slots-max", "2", NULL);
	c = world_client(w);
	other = world_client(w);
	snprintf(before, sizeof(before), "%s", slot_of(c, "a", NULL));
	slot_of(other, "b", NULL);
	release(c, "a", false);
	waiting = submit(other, "c", NULL);
	assert_true(is_pending(other, waiting));
	/* Its holder's end does not free it, as it holds it no more. */
	world_close(w, c);
	sessions_become(other, 1);
	assert_true(is_pending(other, waiting));
	assert_string_equal(slot_of(other, "a", NULL), before);
	release(other, "a", true);
	expect_result(other, waiting, TR_OK);
}

/* A call behind a RELEASE without a reset makes its session a holder, whose end frees the slot. */
static void call_behind_a_release_holds_again(void **state)
{
	const struct tr_member keep = {"reset_workspace", tr_bool(false)};
	const struct tr_call call = {
		.kind = TR_KIND_RELEASE,
		.trajectory_id = "a",
		.arguments = tr_map(&keep, 1),
	};
	struct world *w = *state;
	struct tr_client *c, *other;
	uint64_t first, released, behind;

	world_start(w, NULL);
	other = world_client(w);
	c = world_client(w);
	first = submit(c, "a", FOREVER);
	assert_int_equal(tr_submit(c, &call, &released), 0);
	behind = submit(c, "a", NULL);
	taken_in(c);
	assert_int_equal(tr_cancel(c, first), 0);
	expect_result(c, first, TR_CANCELLED);
	expect_result(c, released, TR_OK);
	expect_result(c, behind, TR_OK);
	assert_int_equal(status(other, "slots", "used"), 1);
	world_close(w, c);
	status_becomes(other, "slots", "used", 0);
}

/* RESET leaves the slot with its trajectory. */
static void reset_keeps_the_slot(void **state)
{
	struct world *w = *state;
	struct tr_result result = {0};
	struct tr_client *c;
	uint64_t waiting;
	char before[64];

	world_start(w, "--slots-max", "1", NULL);
	c = world_client(w);
	snprintf(before, sizeof(before), "%s", slot_of(c, "a", NULL));
	waiting = submit(c, "b", NULL);
	assert_int_equal(tr_reset(c, "a", &result, LONG_MS), 0);
	assert_int_equal(result.verdict, TR_OK);
	assert_non_null(strstr(result.output.data, before));
	assert_string_equal(slot_of(c, "a", NULL), before);
	assert_true(is_pending(c, waiting));
	tr_result_deinit(&result);
}

/* A slot nobody uses for idle_ttl_s is freed, though its session lives; one with a longer time is not. */
static void idle_slot_is_freed(void **state)
{
	const struct tr_member brief = {"idle_ttl_s", tr_float(0.2)},
			       lasting = {"idle_ttl_s", tr_int(600)};
	const struct tr_value brief_spec = spec_of(&brief), lasting_spec = spec_of(&lasting);
	struct world *w = *state;
	struct tr_client *c;
	char kept[64];

	world_start(w, NULL);
	c = world_client(w);
	slot_of(c, "brief", &brief_spec);
	snprintf(kept, sizeof(kept), "%s", slot_of(c, "lasting", &lasting_spec));
	status_becomes(c, "slots", "used", 1);
	assert_int_equal(status(c, "trajectories", NULL), 1);
	assert_string_equal(slot_of(c, "lasting", NULL), kept);
	/* The same for one that was released and kept. */
	slot_of(c, "brief", &brief_spec);
	release(c, "brief", false);
	status_becomes(c, "slots", "used", 1);
}

/* The idle time of a held slot may be changed, as that makes it no other slot. */
static void idle_time_can_be_changed(void **state)
{
	const struct tr_member pids = {"pids", tr_int(100)};
	const struct tr_member brief = {"idle_ttl_s", tr_float(0.2)};
	const struct tr_value pids_spec = spec_of(&pids), brief_spec = spec_of(&brief);
	struct world *w = *state;
	struct tr_client *c;
	char before[64];

	world_start(w, NULL);
	c = world_client(w);
	snprintf(before, sizeof(before), "%s", slot_of(c, "a", &pids_spec));
	assert_string_equal(slot_of(c, "a", &brief_spec), before);
	status_becomes(c, "slots", "used", 0);
}

/* A slot in use is not idle, however long its call runs. */
static void busy_slot_is_not_idle(void **state)
{
	const struct script longer = {.wait_s = 0.5};
	struct world *w = *state;
	struct tr_client *c;
	uint64_t id, behind;

	world_start(w, "--idle-ttl-s", "0.05", NULL);
	c = world_client(w);
	id = submit(c, "a", &longer);
	behind = submit(c, "a", &longer);
	expect_result(c, id, TR_OK);
	expect_result(c, behind, TR_OK);
	status_becomes(c, "slots", "used", 0);
}

/* --idle-ttl-s is the same for those that ask for nothing. */
static void idle_time_of_the_operator(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, "--idle-ttl-s", "0.1", NULL);
	c = world_client(w);
	expect(c, "a", NULL, TR_OK);
	status_becomes(c, "slots", "used", 0);
	expect(c, "a", NULL, TR_OK);
}

/* Another spec is refused, and the same one makes a slot. */
static void expect_promise(struct tr_client *c, const char *trajectory, const struct tr_value *spec)
{
	refuse(c, trajectory, (struct tr_member){"pids", tr_int(101)}, "RELEASE it first");
	slot_of(c, trajectory, spec);
	refuse(c, trajectory, (struct tr_member){"pids", tr_int(101)}, "RELEASE it first");
}

/*
 * What a trajectory's slot was asked to be is asked of the next as well, however the first was lost:
 * it died, it had to be taken out of use, it was idle. Who held it is forgotten with it: RELEASE, or
 * the end of its last session, makes room for another spec.
 */
static void spec_outlives_the_slot(void **state)
{
	const struct tr_member members[] = {{"pids", tr_int(100)}, {"idle_ttl_s", tr_int(600)}};
	const struct tr_member brief = {"idle_ttl_s", tr_float(0.2)}, more = {"pids", tr_int(101)};
	const struct tr_value spec = tr_map(members, 2), brief_spec = tr_map(&brief, 1),
			      other = tr_map(&more, 1);
	const struct script dies = {.die = "slot"}, hangs = {.die = "hang", .timeout_s = 1};
	static const char *const ways[] = {"dies", "hangs", "idle"};
	struct world *w = *state;
	struct tr_client *c, *late;

	world_start(w, "--limit", "cancel_grace_ms=100", NULL);
	late = world_client(w);
	c = world_client(w);
	for (int i = 0; i < 3; i++)
		slot_of(c, ways[i], &spec);
	expect(c, "dies", &dies, TR_UNKNOWN);
	expect(c, "hangs", &hangs, TR_TIMEOUT);
	slot_of(c, "idle", &brief_spec);
	/* The one that hangs is still counted. */
	status_becomes(c, "slots", "used", 1);
	assert_int_equal(status(c, "trajectories", NULL), 3);
	for (int i = 0; i < 3; i++)
		expect_promise(c, ways[i], &spec);
	release(c, "dies", true);
	slot_of(c, "dies", &other);
	/* Without a slot it can be released as well. */
	expect(c, "dies", &dies, TR_UNKNOWN);
	release(c, "dies", true);
	assert_int_equal(status(c, "trajectories", NULL), 2);
	slot_of(c, "dies", &spec);
	expect(c, "dies", &dies, TR_UNKNOWN);
	world_close(w, c);
	status_becomes(late, "trajectories", NULL, 0);
	for (int i = 0; i < 3; i++)
		slot_of(late, ways[i], &other);
}

/* A spec whose slot could not be made binds nobody: another may be tried. */
static void spec_of_no_slot_is_none(void **state)
{
	const struct tr_member member = {"pids", tr_int(100)};
	const struct tr_value spec = spec_of(&member);
	struct world *w = *state;
	struct tr_result result = {0};
	struct tr_client *c;

	world_start(w, "--fake", "acquire_fail=1", NULL);
	c = world_client(w);
	assert_int_equal(tr_acquire(c, "a", &spec, &result, LONG_MS), 0);
	assert_int_equal(result.verdict, TR_UNAVAILABLE);
	assert_int_equal(status(c, "trajectories", NULL), 0);
	tr_result_deinit(&result);
}

/* A slot that takes long to make ready is waited for, and the wait is shown as such. */
static void slow_slots_are_waited_for(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t ids[3];
	struct tr_result result = {0};

	world_start(w, "--fake", "acquire_s=0.3,release_s=0.1", "--slots-max", "2", NULL);
	c = world_client(w);
	ids[0] = submit(c, "a", NULL);
	ids[1] = submit(c, "b", NULL);
	ids[2] = submit(c, "a", NULL);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tr_wait(c, ids[i], &result, LONG_MS), 0);
		assert_int_equal(result.verdict, TR_OK);
		if (i < 2)
			assert_true(result.timing.ns[TR_PHASE_SLOT_WAIT] >= 250000000);
	}
	release(c, "a", true);
	expect(c, "c", NULL, TR_OK);
	tr_result_deinit(&result);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(unknown_key_is_refused),
		world_test(values_are_checked),
		world_test(more_than_allowed_is_denied),
		world_test(network_may_be_given_up),
		world_test(spec_of_a_held_slot_stays),
		world_test(release_with_reset_frees),
		world_test(release_without_reset_keeps),
		world_test(call_behind_a_release_holds_again),
		world_test(reset_keeps_the_slot),
		world_test(idle_slot_is_freed),
		world_test(idle_time_can_be_changed),
		world_test(busy_slot_is_not_idle),
		world_test(idle_time_of_the_operator),
		world_test(spec_outlives_the_slot),
		world_test(spec_of_no_slot_is_none),
		world_test(slow_slots_are_waited_for),
	};

	world_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
