/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a client with as many calls in flight as its session may have can still cancel each of
 * them, and ping: a full table stops new calls, nothing else.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <toolring/toolring.h>

#include "attach.h"
#include "daemon.h"

#define N_CALLS 16
#define WAIT_MS 60000

static uint64_t submit_long(struct tr_client *c, unsigned i)
{
	struct tr_member script[] = {{"wait_s", tr_int(600)}};
	struct tr_member arguments[] = {{"fake", tr_map(script, 1)}};
	char trajectory[16];
	struct tr_call call = {
		.trajectory_id = trajectory,
		.tool = "bash",
		.arguments = tr_map(arguments, 1),
		.timeout_s = 600,
	};
	uint64_t id;
	int r;

	snprintf(trajectory, sizeof(trajectory), "t%u", i);
	r = tr_submit(c, &call, &id);
	check(r == 0, "submit %u: %s", i, strerror(-r));
	return id;
}

/* The library has a row for each of the table's: all are taken. */
static void with_library(const char *socket)
{
	struct tr_options o = {.size = sizeof(o), .name = socket, .n_calls = N_CALLS};
	struct tr_result result = {0};
	uint64_t ids[N_CALLS];
	struct patience p = {0};
	struct tr_client *c;

	check(tr_open_with(&c, &o) == 0, "open");
	for (unsigned i = 0; i < N_CALLS; i++)
		ids[i] = submit_long(c, i);
	check(tr_ping(c, 0, NULL) == -EAGAIN, "there is a row for a ping");
	while (tr_stats(c)->calls_running != N_CALLS)
		check(patience_look_again(&p), "%lu calls run", tr_stats(c)->calls_running);
	for (unsigned i = 0; i < N_CALLS; i++) {
		int r;

		check(tr_cancel(c, ids[i]) == 0, "cancel");
		r = tr_wait(c, ids[i], &result, WAIT_MS);
		check(r == 0, "call %u was cancelled, and does not end: %s", i, strerror(-r));
		check(result.verdict == TR_CANCELLED, "it is %s", tr_verdict_name(result.verdict));
		/* Full once more. */
		ids[i] = submit_long(c, i);
	}
	tr_result_deinit(&result);
	tr_close(c);
}

/* A client without the library may ping: no row is taken for that. */
static void with_pings(const char *socket)
{
	static const char call[] = "\x82\xadtrajectory_id\xa2r?\xa4tool\x82\xa4name\xa4"
				   "bash\xa9"
				   "arguments\x81\xa4"
				   "fake\x81\xa6wait_s\x3c";
	struct attach a;
	uint16_t kind;
	uint64_t id;

	attach_open(&a, socket, 0, N_CALLS);
	for (unsigned i = 0; i < N_CALLS; i++) {
		char one[sizeof(call)];

		memcpy(one, call, sizeof(call));
		*strchr(one, '?') = (char)('a' + i);
		check(attach_send(&a, TR_KIND_EXECUTE, N_CALLS + i, one, sizeof(call) - 1), "send");
	}
	for (unsigned i = 0; i < 10; i++) {
		check(attach_send(&a, TR_KIND_PING, 1000 + i, "x", 1), "send");
		check(attach_receive(&a, &kind, &id), "ping %u is not answered", i);
		check(kind == TR_KIND_PING && id == 1000 + i, "kind %u, id %lu", kind,
		      (unsigned long)id);
	}
	attach_close(&a);
}

int main(int argc, char **argv)
{
	const char *program = daemon_program(argc, argv);
	struct daemon d;

	daemon_start(&d, program, "--log-level", "info", NULL);
	with_library(d.socket);
	with_pings(d.socket);
	daemon_stop(&d);
	return 0;
}
