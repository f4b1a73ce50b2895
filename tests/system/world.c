/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS   60000
#define WATCHDOG_S 240
#define LOOK_MS    2
#define LOOKS_MAX  (LONG_MS / LOOK_MS)

static const char *program;

static volatile sig_atomic_t owner; /* the test itself, not what it forked */
static struct world *volatile present;
static volatile sig_atomic_t stopped; /* the last that stop_process() stopped */

/* Whatever ends the test, its folder and its toolringd go with it. */
static void on_end(int signal)
{
	struct world *w = present;

	if (w && getpid() == owner) {
		if (stopped > 0)
			kill(stopped, SIGCONT);
		if (w->keeper > 0)
			kill(w->keeper, SIGKILL);
		unlink(w->socket);
		rmdir(w->directory);
	}
	/* Blocked until we return, and then by default. */
	raise(signal);
}

void world_main(int argc, char **argv)
{
	const struct sigaction end = {.sa_handler = on_end, .sa_flags = (int)SA_RESETHAND};

	if (argc < 2) {
		fprintf(stderr, "usage: %s TOOLRINGD\n", argv[0]);
		exit(EXIT_FAILURE);
	}
	program = realpath(argv[1], NULL);
	if (!program) {
		perror(argv[1]);
		exit(EXIT_FAILURE);
	}
	owner = getpid();
	sigaction(SIGALRM, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGINT, &end, NULL);
	alarm(WATCHDOG_S);
}

void skip_all(const char *why)
{
	const char *must = getenv("TOOLRING_MUST_WORK");
	bool fails = must && strcmp(must, "1") == 0;

	fprintf(stderr, "%s: %s\n", fails ? "cannot be checked" : "skipped", why);
	exit(fails ? EXIT_FAILURE : 77);
}

/* ---- toolringd ------------------------------------------------------------------------------------ */

static _Noreturn void become_toolringd(const struct world *w, const char *const *flags, int ready,
				       int said, void (*before_exec)(void))
{
	char ready_text[16];
	const char *words[FLAGS_MAX + 8] = {program,   "--backend",  "fake",    "--socket",
					    w->socket, "--ready-fd", ready_text};
	size_t n = 7;

	snprintf(ready_text, sizeof(ready_text), "%d", ready);
	for (; *flags && n < FLAGS_MAX + 7; flags++)
		words[n++] = *flags;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	fcntl(ready, F_SETFD, 0);
	dup2(said, STDERR_FILENO);
	/* A .env that lies where the test was started is not meant for it. */
	if (chdir(w->directory) < 0)
		_exit(126);
	if (before_exec)
		before_exec();
	execv(program, (char *const *)(uintptr_t)words);
	_exit(127);
}

void world_place(struct world *w)
{
	if (w->directory[0])
		return;
	strcpy(w->directory, "/tmp/toolring-test-XXXXXX");
	assert_non_null(mkdtemp(w->directory));
	/* A client that runs as another user must get to the socket. */
	assert_int_equal(chmod(w->directory, 0711), 0);
	snprintf(w->socket, sizeof(w->socket), "%s/socket", w->directory);
	w->said = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC | O_APPEND, 0600);
	assert_true(w->said >= 0);
}

bool world_try_start(struct world *w, const char *const *flags, void (*before_exec)(void),
		     int *ret_status)
{
	struct pollfd p = {.events = POLLIN};
	int ready[2];
	char byte = 0;

	world_place(w);
	w->forsaken = false;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	w->keeper = fork();
	assert_true(w->keeper >= 0);
	if (w->keeper == 0)
		become_toolringd(w, flags, ready[1], w->said, before_exec);
	close(ready[1]);
	p.fd = ready[0];
	assert_int_equal(poll(&p, 1, START_MS), 1);
	if (read(ready[0], &byte, 1) != 1)
		byte = 0;
	close(ready[0]);
	if (!byte)
		*ret_status = world_wait_end(w);
	return byte != 0;
}

void world_start(struct world *w, ...)
{
	const char *flags[FLAGS_MAX] = {0};
	size_t n = 0;
	va_list args;
	char *said;
	int status;

	va_start(args, w);
	while (n + 1 < FLAGS_MAX && (flags[n] = va_arg(args, const char *)))
		n++;
	va_end(args);
	if (world_try_start(w, flags, NULL, &status))
		return;
	said = world_said(w);
	print_error("toolringd does not start (status 0x%x): %s\n", (unsigned)status, said);
	free(said);
	fail();
}

char *world_said(const struct world *w)
{
	off_t n = lseek(w->said, 0, SEEK_END);
	char *text = calloc(1, (size_t)n + 1);

	assert_non_null(text);
	assert_int_equal(pread(w->said, text, (size_t)n, 0), n);
	return text;
}

int world_wait_end(struct world *w)
{
	int status;

	assert_int_equal(waitpid(w->keeper, &status, 0), w->keeper);
	w->keeper = 0;
	return status;
}

void stop_process(pid_t pid)
{
	char path[64], state = 0;

	stopped = pid;
	assert_int_equal(kill(pid, SIGSTOP), 0);
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	for (int i = 0; state != 'T'; i++) {
		FILE *f = fopen(path, "re");

		assert_non_null(f);
		assert_int_equal(fscanf(f, "%*d (%*[^)]) %c", &state), 1);
		fclose(f);
		assert_true(i < LOOKS_MAX);
		if (state != 'T')
			look_again_soon();
	}
}

static void await_death(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	assert_int_equal(poll(&p, 1, LONG_MS), 1);
	close(pidfd);
}

void world_kill(struct world *w, pid_t executor, bool with_executor)
{
	int pidfd = (int)syscall(SYS_pidfd_open, executor, 0);

	assert_true(pidfd >= 0);
	/*
	 * The executor first, or it would see that it is alone and leave by itself; the keeper is held
	 * meanwhile, or it would start another. (Not the other way round: when the keeper dies, the
	 * kernel continues the orphaned group of a stopped executor.)
	 */
	if (with_executor) {
		stop_process(w->keeper);
		assert_int_equal(kill(executor, SIGKILL), 0);
		await_death(pidfd);
	}
	assert_int_equal(kill(w->keeper, SIGKILL), 0);
	world_wait_end(w);
	if (!with_executor)
		await_death(pidfd);
	stopped = 0;
	w->forsaken = true;
}

/* As toolringd names what it makes in /dev/shm. */
static size_t n_segments_left(const struct world *w)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	char prefix[64];
	struct dirent *entry;
	size_t n = 0;
	DIR *dir;

	for (const char *c = w->socket; *c; c++)
		h = (h ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
	snprintf(prefix, sizeof(prefix), "toolring-%u-%016llx-", (unsigned)geteuid(),
		 (unsigned long long)h);
	dir = opendir("/dev/shm");
	assert_non_null(dir);
	while ((entry = readdir(dir)))
		n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	closedir(dir);
	return n;
}

int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	w->said = -1;
	present = w;
	*state = w;
	return 0;
}

static void world_stop(struct world *w)
{
	char *said = world_said(w);
	int status = 0;

	if (stopped > 0)
		kill(stopped, SIGCONT);
	stopped = 0;
	if (w->keeper) {
		kill(w->keeper, SIGTERM);
		status = world_wait_end(w);
	}
	if (!w->forsaken && (status || access(w->socket, F_OK) == 0 || n_segments_left(w)))
		print_error("status 0x%x, socket left: %d, segments left: %zu, said: %s\n",
			    (unsigned)status, access(w->socket, F_OK) == 0, n_segments_left(w),
			    said);
	free(said);
	if (!w->forsaken) {
		assert_int_equal(status, 0);
		assert_int_equal(access(w->socket, F_OK), -1);
	}
	assert_int_equal(n_segments_left(w), 0);
	unlink(w->socket);
	assert_int_equal(rmdir(w->directory), 0);
	close(w->said);
}

int world_teardown(void **state)
{
	struct world *w = *state;

	while (w->n_children)
		world_reap(w, w->children[0]);
	for (size_t i = 0; i < w->n_clients; i++)
		tr_close(w->clients[i]);
	if (w->directory[0])
		world_stop(w);
	present = NULL;
	free(w);
	return 0;
}

/* ---- processes ------------------------------------------------------------------------------------ */

pid_t world_fork(struct world *w)
{
	pid_t pid;

	assert_true(w->n_children < CHILDREN_MAX);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	else
		w->children[w->n_children++] = pid;
	return pid;
}

int world_wait_child(struct world *w, pid_t pid)
{
	int status;

	for (size_t i = 0; i < w->n_children; i++) {
		if (w->children[i] != pid)
			continue;
		w->children[i] = w->children[--w->n_children];
		assert_int_equal(waitpid(pid, &status, 0), pid);
		return status;
	}
	fail_msg("no such child");
	return -1;
}

int world_reap(struct world *w, pid_t pid)
{
	kill(pid, SIGKILL);
	return world_wait_child(w, pid);
}

/* ---- clients -------------------------------------------------------------------------------------- */

struct tr_client *world_client_with(struct world *w, struct tr_options options)
{
	char message[256] = "";
	int r;

	assert_true(w->n_clients < CLIENTS_MAX);
	options.size = sizeof(options);
	options.name = w->socket;
	options.open_timeout_ms = LONG_MS;
	options.message = message;
	options.n_message = sizeof(message);
	r = tr_open_with(&w->clients[w->n_clients], &options);
	if (r < 0)
		print_error("cannot open a session: %s\n", message);
	assert_int_equal(r, 0);
	return w->clients[w->n_clients++];
}

struct tr_client *world_client(struct world *w)
{
	return world_client_with(w, (struct tr_options){0});
}

void world_close(struct world *w, struct tr_client *client)
{
	for (size_t i = 0; i < w->n_clients; i++) {
		if (w->clients[i] != client)
			continue;
		w->clients[i] = w->clients[--w->n_clients];
		tr_close(client);
		return;
	}
	fail_msg("no such client");
}

int world_open(const struct world *w, struct tr_client **ret_client, char *message, size_t n)
{
	struct tr_options options = {
		.size = sizeof(options),
		.name = w->socket,
		.open_timeout_ms = LONG_MS,
		.message = message,
		.n_message = n,
	};

	return tr_open_with(ret_client, &options);
}

/* ---- calls ---------------------------------------------------------------------------------------- */

int try_submit(struct tr_client *client, const char *trajectory, const struct script *script,
	       uint64_t *ret_id)
{
	const struct script none = {0};
	const struct script *s = script ? script : &none;
	struct tr_member fake[3];
	struct tr_member arguments[3] = {{"command", tr_string("true")}};
	size_t n_fake = 0, n_arguments = 1;
	struct tr_call call = {
		.trajectory_id = trajectory,
		.tool = "bash",
		.timeout_s = s->timeout_s,
	};

	if (s->wait_s > 0)
		fake[n_fake++] = (struct tr_member){"wait_s", tr_float(s->wait_s)};
	if (s->die)
		fake[n_fake++] = (struct tr_member){"die", tr_string(s->die)};
	if (s->verdict)
		fake[n_fake++] = (struct tr_member){"verdict", tr_string(s->verdict)};
	if (n_fake)
		arguments[n_arguments++] = (struct tr_member){"fake", tr_map(fake, n_fake)};
	if (s->argument_timeout_s > 0)
		arguments[n_arguments++] =
			(struct tr_member){"timeout", tr_float(s->argument_timeout_s)};
	call.arguments = tr_map(arguments, n_arguments);
	return tr_submit(client, &call, ret_id);
}

uint64_t submit(struct tr_client *client, const char *trajectory, const struct script *script)
{
	uint64_t id;

	assert_int_equal(try_submit(client, trajectory, script, &id), 0);
	return id;
}

void expect_error(struct tr_client *client, uint64_t id, enum tr_verdict verdict, const char *text)
{
	struct tr_result result = {0};

	assert_int_equal(tr_wait(client, id, &result, LONG_MS), 0);
	if (result.verdict != verdict || (text && !strstr(result.error.data, text)))
		print_error("%s: %s\n", tr_verdict_name(result.verdict), result.error.data);
	assert_int_equal(result.verdict, verdict);
	assert_int_equal(result.success, verdict == TR_OK);
	if (text)
		assert_non_null(strstr(result.error.data, text));
	tr_result_deinit(&result);
}

void expect_result(struct tr_client *client, uint64_t id, enum tr_verdict verdict)
{
	expect_error(client, id, verdict, NULL);
}

void expect(struct tr_client *client, const char *trajectory, const struct script *script,
	    enum tr_verdict verdict)
{
	expect_result(client, submit(client, trajectory, script), verdict);
}

bool is_pending(struct tr_client *client, uint64_t id)
{
	struct tr_result result = {0};
	int r;

	/* What was answered before this is seen. */
	taken_in(client);
	r = tr_wait(client, id, &result, 0);
	tr_result_deinit(&result);
	assert_true(r == 0 || r == -ETIMEDOUT);
	return r == -ETIMEDOUT;
}

const char *slot_of(struct tr_client *client, const char *trajectory, const struct tr_value *spec)
{
	static char name[4][64];
	static size_t turn;
	struct tr_result result = {0};
	char *to = name[turn++ % 4];

	assert_int_equal(tr_acquire(client, trajectory, spec, &result, LONG_MS), 0);
	if (result.verdict != TR_OK)
		print_error("%s\n", result.error.data);
	assert_int_equal(result.verdict, TR_OK);
	snprintf(to, sizeof(name[0]), "%s", result.slot_id.data);
	assert_string_not_equal(to, "");
	tr_result_deinit(&result);
	return to;
}

void release(struct tr_client *client, const char *trajectory, bool reset)
{
	struct tr_result result = {0};

	assert_int_equal(tr_release(client, trajectory, reset, &result, LONG_MS), 0);
	assert_int_equal(result.verdict, TR_OK);
	tr_result_deinit(&result);
}

void taken_in(struct tr_client *client)
{
	assert_int_equal(tr_ping(client, LONG_MS, NULL), 0);
}

/* ---- questions ------------------------------------------------------------------------------------ */

struct tr_value *status_ask(struct tr_client *client)
{
	struct tr_result result = {0};
	struct tr_value *value;

	assert_int_equal(tr_status(client, &result, LONG_MS), 0);
	assert_int_equal(tr_value_parse(result.metadata.data, result.metadata.n, &value), 0);
	tr_result_deinit(&result);
	return value;
}

int64_t status(struct tr_client *client, const char *key, const char *sub_key)
{
	struct tr_value *value = status_ask(client);
	const struct tr_value *found = tr_value_get(value, key);
	int64_t number;

	if (sub_key)
		found = tr_value_get(found, sub_key);
	assert_non_null(found);
	assert_int_equal(found->type, TR_INT);
	number = found->u.integer;
	tr_value_free(value);
	return number;
}

pid_t executor_pid(struct tr_client *client)
{
	return (pid_t)status(client, "executor_pid", NULL);
}

void look_again_soon(void)
{
	poll(NULL, 0, LOOK_MS);
}

void status_becomes(struct tr_client *client, const char *key, const char *sub_key, int64_t want)
{
	for (int i = 0; status(client, key, sub_key) != want; i++) {
		if (i == LOOKS_MAX)
			fail_msg("%s %s did not become %lld", key, sub_key ? sub_key : "",
				 (long long)want);
		look_again_soon();
	}
}

static size_t n_sessions(struct tr_client *client)
{
	struct tr_value *value = status_ask(client);
	const struct tr_value *sessions = tr_value_get(value, "sessions");
	size_t n;

	assert_non_null(sessions);
	n = sessions->n;
	tr_value_free(value);
	return n;
}

void sessions_become(struct tr_client *client, size_t n)
{
	for (int i = 0; n_sessions(client) != n; i++) {
		assert_true(i < LOOKS_MAX);
		look_again_soon();
	}
}
