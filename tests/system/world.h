/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SYSTEM_WORLD_H
#define TESTS_SYSTEM_WORLD_H

/*
 * What a test of the whole path needs: a toolringd of its own over the fake backend, clients, calls
 * that carry a script for the backend, and questions to the executor. Everything asserts.
 *
 *   static void lone_call_is_answered(void **state)
 *   {
 *           struct world *w = *state;
 *
 *           world_start(w, "--slots-max", "1", NULL);
 *           expect(world_client(w), "a", NULL, TR_OK);
 *   }
 *
 * The teardown closes the clients, stops toolringd with SIGTERM and shows that it leaves with 0 and
 * that nothing is left behind.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
/* cmocka wants those above first. */
#include <cmocka.h>

#include <toolring/toolring.h>

#define LONG_MS      60000 /* far more than anything here takes */
#define CLIENTS_MAX  16
#define CHILDREN_MAX 4
#define FLAGS_MAX    24

struct world {
	char directory[32];
	char socket[64];
	pid_t keeper;  /* 0: none */
	int said;      /* file with what toolringd said; -1 */
	bool forsaken; /* it was killed: the teardown expects no order */
	struct tr_client *clients[CLIENTS_MAX];
	size_t n_clients;
	pid_t children[CHILDREN_MAX]; /* processes of the test that must not outlive it */
	size_t n_children;
};

/* Once in main(): argv[1] is toolringd. Also the watchdog of the whole program. */
void world_main(int argc, char **argv);

int world_setup(void **state);
int world_teardown(void **state);
#define world_test(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

/* ---- toolringd ---------------------------------------------------------------------------------- */

/* Makes the directory that the socket lies in; the start does it too. */
void world_place(struct world *w);
/* Starts toolringd with these further flags, up to NULL, and waits until it serves. */
void world_start(struct world *w, ...) __attribute__((sentinel));
/*
 * The same, but before_exec (may be NULL) runs in the new process, and toolringd may fail. Returns
 * whether it serves; if it does not, it has left, and *ret_status is what waitpid() said.
 */
bool world_try_start(struct world *w, const char *const *flags, void (*before_exec)(void),
		     int *ret_status);
/* What it has written to standard error so far; for free(). */
char *world_said(const struct world *w);
/* Waits for it to leave by itself; returns what waitpid() said. */
int world_wait_end(struct world *w);
/*
 * kill -9 of the keeper and, if wanted, of the executor; returns once both are gone. The directory
 * and what lies in it stay.
 */
void world_kill(struct world *w, pid_t executor, bool with_executor);

/* SIGSTOP, and back once it does stand still. SIGCONT lets it go on. */
void stop_process(pid_t pid);

/* ---- clients ------------------------------------------------------------------------------------ */

/* Opens a session, which the teardown closes. */
struct tr_client *world_client(struct world *w);
struct tr_client *world_client_with(struct world *w, struct tr_options options);
/* Closes it earlier. */
void world_close(struct world *w, struct tr_client *client);
/* Without an assert: 0 or -errno, the words in message. */
int world_open(const struct world *w, struct tr_client **ret_client, char *message, size_t n);

/* ---- calls -------------------------------------------------------------------------------------- */

/* What an EXECUTE asks of the fake backend; zero is nothing in particular. */
struct script {
	double wait_s;
	const char *die; /* "slot", "executor" or "hang" */
	const char *verdict;
	double timeout_s;          /* the call's own */
	double argument_timeout_s; /* arguments.timeout */
};

/* Runs until the test cancels it. */
#define FOREVER (&(struct script){.wait_s = 500, .timeout_s = 600})

/* Without an assert, and without waiting for room. */
int try_submit(struct tr_client *client, const char *trajectory, const struct script *script,
	       uint64_t *ret_id);
uint64_t submit(struct tr_client *client, const char *trajectory, const struct script *script);
/* Waits for the result of a call and checks its verdict. */
void expect_result(struct tr_client *client, uint64_t id, enum tr_verdict verdict);
/* The same, and its error has this text in it. */
void expect_error(struct tr_client *client, uint64_t id, enum tr_verdict verdict, const char *text);
/* Both at once. */
void expect(struct tr_client *client, const char *trajectory, const struct script *script,
	    enum tr_verdict verdict);
/* Is the call unanswered? */
bool is_pending(struct tr_client *client, uint64_t id);
/* ACQUIRE; spec may be NULL. The name of the slot stays for three more uses. */
const char *slot_of(struct tr_client *client, const char *trajectory, const struct tr_value *spec);
void release(struct tr_client *client, const char *trajectory, bool reset);
/* All that was submitted has been taken in by the executor. */
void taken_in(struct tr_client *client);

/* ---- questions ---------------------------------------------------------------------------------- */

/* All that STATUS says, for tr_value_free(). */
struct tr_value *status_ask(struct tr_client *client);
/* A number of it: status(c, "slots", "used"), or status(c, "calls_queued", NULL). */
int64_t status(struct tr_client *client, const char *key, const char *sub_key);
pid_t executor_pid(struct tr_client *client);
/* Asks until the number is as wanted. */
void status_becomes(struct tr_client *client, const char *key, const char *sub_key, int64_t want);
/* n sessions are listed. */
void sessions_become(struct tr_client *client, size_t n);
/* A pause between two looks at something that another process does. */
void look_again_soon(void);

/* A child that the teardown kills and reaps if the test has not. */
pid_t world_fork(struct world *w);
/* Kills and reaps it, or waits until it ends by itself; returns what waitpid() said. */
int world_reap(struct world *w, pid_t pid);
int world_wait_child(struct world *w, pid_t pid);

/* Ends the test program as skipped, or as failed where everything must work. */
_Noreturn void skip_all(const char *why);

#endif
