/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a review of the executor found, so that it stays mended: what a result says of its time, what a
 * client may do to others, how slots are asked for and given back, and how toolringd stops. What has
 * to do with restarts and with raw sessions stands in review_restart.c.
 */
#include "world.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define MIB             (1 << 20)
#define N_OPENERS       64
#define N_REFUSED       300
#define N_LARGE_CALLS   48
#define CALL_BYTES_MAX  (4 * MIB)
#define EXECUTOR_GROWTH (32 * MIB)
#define TURN_NS         (100 * NS_PER_MS)

/* ---- where the time went -------------------------------------------------------------------------- */

/* Waits for a result that spent at_least_ns in that phase, and in all of them no more than passed. */
static void spent(struct tr_client *c, uint64_t id, uint64_t since_ns, enum tr_verdict verdict,
		  enum tr_phase phase, uint64_t at_least_ns)
{
	struct tr_result result = {0};
	uint64_t sum = 0;

	assert_int_equal(tr_wait(c, id, &result, LONG_MS), 0);
	assert_int_equal(result.verdict, verdict);
	for (int i = 0; i < TR_N_PHASES; i++)
		sum += result.timing.ns[i];
	if (result.timing.ns[phase] < at_least_ns)
		for (int i = 0; i < TR_N_PHASES; i++)
			print_error("phase %d: %llu ns\n", i,
				    (unsigned long long)result.timing.ns[i]);
	assert_true(result.timing.ns[phase] >= at_least_ns);
	/* The executor's clock stands still for as long as a turn takes. */
	assert_true(sum <= now_ns() - since_ns + TURN_NS);
	tr_result_deinit(&result);
}

static void let_pass(uint64_t ns)
{
	uint64_t until = now_ns() + ns;

	while (now_ns() < until)
		look_again_soon();
}

/* A call that got no slot in time has spent the time waiting for one, and not on its reply. */
static void vain_wait_is_slot_wait(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t since;

	world_start(w, "--slots-max", "1", "--acquire-timeout-s", "0.3", NULL);
	c = world_client(w);
	expect(c, "a", NULL, TR_OK);
	since = now_ns();
	spent(c, submit(c, "b", NULL), since, TR_UNAVAILABLE, TR_PHASE_SLOT_WAIT, 250 * NS_PER_MS);
}

/* One that was cancelled while it waited for its turn was in the queue, or waited for the slot. */
static void cancelled_wait_is_waiting(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t running, queued, waiting, since;

	world_start(w, "--slots-max", "1", NULL);
	c = world_client(w);
	since = now_ns();
	running = submit(c, "a", FOREVER);
	queued = submit(c, "a", NULL);
	waiting = submit(c, "b", NULL);
	taken_in(c);
	let_pass(200 * NS_PER_MS);
	assert_int_equal(tr_cancel(c, queued), 0);
	spent(c, queued, since, TR_CANCELLED, TR_PHASE_QUEUE, 200 * NS_PER_MS);
	assert_int_equal(tr_cancel(c, waiting), 0);
	spent(c, waiting, since, TR_CANCELLED, TR_PHASE_SLOT_WAIT, 150 * NS_PER_MS);
	assert_true(is_pending(c, running));
}

/* One that never ended by itself ran until it was given up. */
static void hung_call_has_run(void **state)
{
	const struct script hang = {.die = "hang", .timeout_s = 1};
	struct world *w = *state;
	struct tr_client *c;
	uint64_t since;

	world_start(w, "--limit", "cancel_grace_ms=100", NULL);
	c = world_client(w);
	since = now_ns();
	spent(c, submit(c, "a", &hang), since, TR_TIMEOUT, TR_PHASE_RUN, 900 * NS_PER_MS);
}

/* ---- what a client may do to others ---------------------------------------------------------------- */

static int64_t private_bytes(pid_t pid)
{
	char path[64], line[128];
	long long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (kib < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %lld kB", &kib) != 1)
			kib = -1;
	fclose(f);
	assert_true(kib >= 0);
	return kib * 1024;
}

/* A sanitizer keeps what was freed, so that sizes say nothing. */
static bool is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#else
	return false;
#endif
}

/*
 * Large calls of one trajectory that wait for their turn are taken in up to session_call_bytes_max;
 * the rest waits with the client, which is told that there is no room. Others do not notice, the
 * executor does not grow, and in the end every call is answered.
 */
static void large_calls_are_held_back(void **state)
{
	struct world *w = *state;
	char *command = calloc(1, MIB);
	const struct tr_member argument = {"command", tr_string_n(command, MIB)};
	const struct tr_call call = {
		.trajectory_id = "a",
		.tool = "bash",
		.arguments = tr_map(&argument, 1),
	};
	struct tr_result result = {0};
	struct tr_client *c, *other;
	size_t n_before = 0, n_reaped = 0;
	int64_t bytes;
	uint64_t id;

	assert_non_null(command);
	memset(command, 'x', MIB);
	world_start(w, "--slots-max", "1", "--acquire-timeout-s", "600", "--limit",
		    "session_call_bytes_max=4194304", NULL);
	other = world_client(w);
	expect(other, "holds the slot", NULL, TR_OK);
	bytes = private_bytes(executor_pid(other));
	c = world_client(w);
	while (n_before < N_LARGE_CALLS && tr_submit_wait(c, &call, 200, &id) == 0)
		n_before++;
	/* One more was begun with, and one lies in the ring in part. */
	assert_true(n_before >= 1 && n_before <= CALL_BYTES_MAX / MIB + 2);
	taken_in(other);
	if (!is_sanitized())
		assert_true(private_bytes(executor_pid(other)) - bytes < EXECUTOR_GROWTH);
	release(other, "holds the slot", true);
	for (size_t n = n_before; n < N_LARGE_CALLS; n++)
		assert_int_equal(tr_submit_wait(c, &call, LONG_MS, &id), 0);
	for (; n_reaped < N_LARGE_CALLS; n_reaped++) {
		assert_int_equal(tr_reap(c, &result, LONG_MS), 0);
		assert_int_equal(result.verdict, TR_OK);
		assert_int_equal(result.output.n, MIB);
	}
	tr_result_deinit(&result);
	free(command);
}

static int pipe_nobody_reads[2];

static void give_it_the_pipe(void)
{
	dup2(pipe_nobody_reads[1], STDERR_FILENO);
}

/* A refused hello, which is worth a line in the log. */
static void be_refused(const struct world *w)
{
	const struct tr_hello bad = {.magic = 1, .bytes = 16};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	assert_true(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", w->socket);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_true(send(fd, &bad, 16, MSG_NOSIGNAL) == 16);
	assert_int_equal(poll(&p, 1, LONG_MS), 1);
	close(fd);
}

/* A log that nobody reads loses lines, and stops nobody. */
static void unread_log_does_not_stop_it(void **state)
{
	static const char *const flags[] = {"--log-level", "info", NULL};
	struct pollfd p = {.events = POLLOUT};
	struct world *w = *state;
	struct tr_client *c;
	int ended;

	assert_int_equal(pipe2(pipe_nobody_reads, O_CLOEXEC), 0);
	assert_true(fcntl(pipe_nobody_reads[1], F_SETPIPE_SZ, 4096) > 0);
	assert_true(world_try_start(w, flags, give_it_the_pipe, &ended));
	c = world_client(w);
	for (int i = 0; i < N_REFUSED; i++)
		be_refused(w);
	p.fd = pipe_nobody_reads[1];
	assert_int_equal(poll(&p, 1, 0), 0);
	for (int i = 0; i < 10; i++)
		taken_in(c);
	expect(c, "a", NULL, TR_OK);
	/* Its end is not held up either. */
	assert_int_equal(kill(w->keeper, SIGTERM), 0);
	assert_int_equal(world_wait_end(w), 0);
	close(pipe_nobody_reads[0]);
	close(pipe_nobody_reads[1]);
}

static pid_t fork_opener(const struct world *w, const int start[2])
{
	struct tr_client *own;
	pid_t pid = fork();
	char byte;

	assert_true(pid >= 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(start[1]);
	if (read(start[0], &byte, 1) != 0 || world_open(w, &own, NULL, 0) < 0)
		_exit(1);
	_exit(tr_ping(own, LONG_MS, NULL) < 0);
}

/* Many processes of one user that open their sessions at the same moment all get in. */
static void crowd_gets_in(void **state)
{
	struct world *w = *state;
	pid_t pids[N_OPENERS];
	int n_in = 0, start[2], ended;

	world_start(w, NULL);
	assert_int_equal(pipe(start), 0);
	fflush(NULL);
	for (int i = 0; i < N_OPENERS; i++)
		pids[i] = fork_opener(w, start);
	close(start[0]);
	close(start[1]);
	for (int i = 0; i < N_OPENERS; i++) {
		assert_int_equal(waitpid(pids[i], &ended, 0), pids[i]);
		n_in += ended == 0;
	}
	assert_int_equal(n_in, N_OPENERS);
}

/* ---- specs ---------------------------------------------------------------------------------------- */

/* Asks for a slot with this in its spec; refused if text is not NULL. */
static void acquire(struct tr_client *c, const char *trajectory, const char *key,
		    struct tr_value value, const char *text)
{
	const struct tr_member member = {key, value};
	const struct tr_value spec = tr_map(&member, 1);
	struct tr_result result = {0};

	assert_int_equal(tr_acquire(c, trajectory, &spec, &result, LONG_MS), 0);
	if (result.verdict != (text ? TR_INVALID : TR_OK))
		print_error("%s: %s\n", key, result.error.data);
	assert_int_equal(result.verdict, text ? TR_INVALID : TR_OK);
	if (text)
		assert_non_null(strstr(result.error.data, text));
	tr_result_deinit(&result);
}

/*
 * What a trajectory that has a slot may still ask for: the same once more, and another idle time,
 * whether its slot came with an EXECUTE or with an ACQUIRE. Only what would be another slot is
 * refused.
 */
static void held_slot_can_be_asked_for_again(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, NULL);
	c = world_client(w);
	expect(c, "executed first", NULL, TR_OK);
	acquire(c, "executed first", "idle_ttl_s", tr_int(600), NULL);
	acquire(c, "acquired", "idle_ttl_s", tr_int(500), NULL);
	acquire(c, "acquired", "idle_ttl_s", tr_int(500), NULL);
	acquire(c, "acquired", "idle_ttl_s", tr_int(600), NULL);
	acquire(c, "sized", "memory", tr_int(MIB), NULL);
	acquire(c, "sized", "memory", tr_int(MIB), NULL);
	acquire(c, "sized", "idle_ttl_s", tr_int(600), NULL);
	acquire(c, "sized", "memory", tr_int(2 * MIB), "RELEASE it first");
	acquire(c, "executed first", "memory", tr_int(MIB), "RELEASE it first");
	/* A slot or not, what makes no sense is said to make none. */
	acquire(c, "sized", "image", tr_string("debian"), "idle_ttl_s");
	acquire(c, "executed first", "image", tr_string("debian"), "idle_ttl_s");
	acquire(c, "executed first", "memory", tr_int(-1), "memory");
	assert_int_equal(status(c, "slots", "used"), 3);
}

/* The idle time that is asked for later is the one that holds, shorter or longer. */
static void later_idle_time_holds(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, "--idle-ttl-s", "600", NULL);
	c = world_client(w);
	expect(c, "executed first", NULL, TR_OK);
	acquire(c, "acquired", "idle_ttl_s", tr_int(500), NULL);
	acquire(c, "longer", "idle_ttl_s", tr_float(0.5), NULL);
	acquire(c, "longer", "idle_ttl_s", tr_int(500), NULL);
	assert_int_equal(status(c, "slots", "used"), 3);
	acquire(c, "executed first", "idle_ttl_s", tr_float(0.1), NULL);
	acquire(c, "acquired", "idle_ttl_s", tr_float(0.1), NULL);
	status_becomes(c, "slots", "used", 1);
	let_pass(600 * NS_PER_MS);
	assert_int_equal(status(c, "slots", "used"), 1);
}

/* An ACQUIRE that makes no sense does not slip in behind an EXECUTE that was cancelled. */
static void wrong_spec_does_not_slip_in(void **state)
{
	const struct tr_member image = {"image", tr_string("debian")};
	const struct tr_member spec = {"spec", tr_map(&image, 1)};
	const struct tr_call call = {
		.kind = TR_KIND_ACQUIRE,
		.trajectory_id = "b",
		.arguments = tr_map(&spec, 1),
	};
	struct world *w = *state;
	struct tr_client *c;
	uint64_t first, behind;

	world_start(w, "--slots-max", "1", NULL);
	c = world_client(w);
	expect(c, "a", NULL, TR_OK);
	first = submit(c, "b", NULL);
	assert_int_equal(tr_submit(c, &call, &behind), 0);
	taken_in(c);
	assert_int_equal(tr_cancel(c, first), 0);
	expect_result(c, first, TR_CANCELLED);
	release(c, "a", true);
	expect_error(c, behind, TR_INVALID, "image");
	assert_int_equal(status(c, "slots", "used"), 0);
}

/* ---- slots ---------------------------------------------------------------------------------------- */

/* A slot that could not be reset is nobody's any more, and whoever asked for it is told. */
static void slot_not_reset_is_out_of_use(void **state)
{
	struct world *w = *state;
	struct tr_result result = {0};
	char before[64], kept[64];
	struct tr_client *c;

	world_start(w, "--fake", "release_fail=1", "--slots-max", "3", "--acquire-timeout-s", "0.2",
		    NULL);
	c = world_client(w);
	snprintf(before, sizeof(before), "%s", slot_of(c, "a", NULL));
	/* The twin: what is only parked needs no reset. */
	snprintf(kept, sizeof(kept), "%s", slot_of(c, "parked", NULL));
	release(c, "parked", false);
	assert_int_equal(status(c, "slots", "out_of_use"), 0);
	assert_int_equal(tr_release(c, "a", true, &result, LONG_MS), 0);
	assert_int_equal(result.verdict, TR_UNAVAILABLE);
	assert_string_equal(result.error.data, "the fake backend resets nothing");
	assert_int_equal(status(c, "slots", "out_of_use"), 1);
	assert_int_equal(status(c, "slots", "used"), 2);
	assert_string_not_equal(slot_of(c, "b", NULL), before);
	assert_string_equal(slot_of(c, "parked", NULL), kept);
	expect_error(c, submit(c, "c", NULL), TR_UNAVAILABLE, "no slot became free");
	tr_result_deinit(&result);
}

/*
 * A RELEASE that keeps the files keeps them although its client leaves before it is done: nobody who
 * waits gets the slot, and the next session of that user finds it.
 */
static void parking_survives_its_client(void **state)
{
	const struct tr_member keep = {"reset_workspace", tr_bool(false)};
	const struct tr_call call = {
		.kind = TR_KIND_RELEASE,
		.trajectory_id = "a",
		.arguments = tr_map(&keep, 1),
	};
	struct world *w = *state;
	struct tr_client *c, *other;
	uint64_t released, waiting;
	char before[64];

	world_start(w, "--fake", "release_s=0.5", "--slots-max", "1", NULL);
	other = world_client(w);
	c = world_client(w);
	snprintf(before, sizeof(before), "%s", slot_of(c, "a", NULL));
	assert_int_equal(tr_submit(c, &call, &released), 0);
	taken_in(c);
	taken_in(c);
	world_close(w, c);
	sessions_become(other, 1);
	waiting = submit(other, "b", NULL);
	assert_string_equal(slot_of(other, "a", NULL), before);
	assert_int_equal(status(other, "slots", "used"), 1);
	assert_int_equal(status(other, "slots", "out_of_use"), 0);
	assert_true(is_pending(other, waiting));
	release(other, "a", true);
	expect_result(other, waiting, TR_OK);
}

/*
 * The acquire timeout is also for a backend that is slow to make a slot ready. The slot is not lost:
 * once it is ready, it is the trajectory's.
 */
static void slow_backend_runs_into_the_timeout(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, "--fake", "acquire_s=3", "--acquire-timeout-s", "0.3", NULL);
	c = world_client(w);
	expect_error(c, submit(c, "a", NULL), TR_UNAVAILABLE, "acquire timeout");
	assert_int_equal(status(c, "slots", "used"), 1);
	let_pass(3 * NS_PER_S);
	expect(c, "a", NULL, TR_OK);
	assert_int_equal(status(c, "slots", "used"), 1);
}

/* ---- the end -------------------------------------------------------------------------------------- */

/* Who waits for a slot is told of the stop at once, and does not hold it up. */
static void stop_does_not_wait_for_slots(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t waiting, behind;

	world_start(w, "--slots-max", "1", "--acquire-timeout-s", "3600", "--limit",
		    "stop_grace_ms=3600000", NULL);
	c = world_client_with(w, (struct tr_options){.flags = TR_OPEN_NO_RECONNECT});
	expect(c, "a", NULL, TR_OK);
	waiting = submit(c, "b", NULL);
	behind = submit(c, "b", NULL);
	taken_in(c);
	assert_int_equal(kill(w->keeper, SIGTERM), 0);
	expect_error(c, waiting, TR_UNAVAILABLE, "stopping");
	expect_error(c, behind, TR_UNAVAILABLE, "stopping");
	assert_int_equal(world_wait_end(w), 0);
}

/*
 * A service manager signals both processes: that is one stop and not two. The executor heeds its
 * keeper only.
 */
static void executor_heeds_its_keeper_only(void **state)
{
	const struct script slow = {.wait_s = 1};
	struct world *w = *state;
	struct tr_client *c;
	uint64_t running;
	pid_t executor;

	world_start(w, "--limit", "stop_grace_ms=3600000", NULL);
	c = world_client_with(w, (struct tr_options){.flags = TR_OPEN_NO_RECONNECT});
	executor = executor_pid(c);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(kill(executor, SIGTERM), 0);
		expect(c, "a", NULL, TR_OK);
	}
	running = submit(c, "a", &slow);
	taken_in(c);
	assert_int_equal(kill(executor, SIGTERM), 0);
	assert_int_equal(kill(w->keeper, SIGTERM), 0);
	expect_result(c, running, TR_OK);
	assert_int_equal(world_wait_end(w), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(vain_wait_is_slot_wait),
		world_test(cancelled_wait_is_waiting),
		world_test(hung_call_has_run),
		world_test(large_calls_are_held_back),
		world_test(unread_log_does_not_stop_it),
		world_test(crowd_gets_in),
		world_test(held_slot_can_be_asked_for_again),
		world_test(later_idle_time_holds),
		world_test(wrong_spec_does_not_slip_in),
		world_test(slot_not_reset_is_out_of_use),
		world_test(parking_survives_its_client),
		world_test(slow_backend_runs_into_the_timeout),
		world_test(stop_does_not_wait_for_slots),
		world_test(executor_heeds_its_keeper_only),
	};

	world_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
