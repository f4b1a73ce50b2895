/* SPDX-License-Identifier: Apache-2.0 */
/* toolringd: reads the configuration, then is the keeper, whose children are executors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <toolring/toolring.h>

#include "base/clock.h"
#include "base/log.h"
#include "executor/config.h"
#include "executor/executor.h"
#include "io/loop.h"
#include "keeper/keeper.h"

/* What the executor's own steps take at most after the last grace. */
#define STOP_MARGIN_NS (5 * NS_PER_S)

struct program {
	struct config config;
	char socket_path[256];
	char shm_prefix[64];
};

static int run_executor(const struct keeper_child *child, void *context)
{
	const struct program *p = context;
	struct executor_start start = {
		.config = &p->config,
		.listener = child->listener,
		.keeper = child->keeper,
		.stats_fd = child->stats_fd,
		.stats = child->stats,
		.notes = child->notes,
		.generation = child->generation,
		.shm_prefix = p->shm_prefix,
	};
	int code;

	log_init("toolringd-executor", p->config.log_level);
	code = executor_run(&start);
	config_deinit((struct config *)&p->config);
	return code;
}

/* One instance, one prefix: so a start removes only what its own earlier runs left. */
static void make_shm_prefix(struct program *p)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (const char *c = p->socket_path; *c; c++)
		h = (h ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
	snprintf(p->shm_prefix, sizeof(p->shm_prefix), "toolring-%u-%016llx-", (unsigned)geteuid(),
		 (unsigned long long)h);
}

static bool admits_others(const struct config *c)
{
	for (size_t i = 0; i < c->n_allow_uids; i++)
		if (c->allow_uids[i] != geteuid() && c->allow_uids[i] != 0)
			return true;
	return false;
}

static int run(struct program *p)
{
	const struct limits *l = &p->config.limits;
	struct keeper_options options = {
		.socket_path = p->socket_path,
		.own_directory = !p->config.socket[0] && !strchr(p->config.name, '/'),
		.socket_is_open = admits_others(&p->config),
		.shm_prefix = p->shm_prefix,
		.drop_uid = p->config.user_uid,
		.drop_gid = p->config.user_gid,
		.restarts_max = l->restarts_max,
		.restarts_window_ns = l->restarts_window_ms * NS_PER_MS,
		.stop_grace_ns =
			(l->stop_grace_ms + l->cancel_grace_ms) * NS_PER_MS + STOP_MARGIN_NS,
		.kill_grace_ns = l->cancel_grace_ms * NS_PER_MS + STOP_MARGIN_NS,
		.ready_fd = p->config.ready_fd,
		.notes_bytes = p->config.n_slots_max * sizeof(struct slot_note),
		.stats_bytes = sizeof(struct tr_stats),
	};

	if (config_socket_path(&p->config, p->socket_path, sizeof(p->socket_path)) < 0) {
		log_error("the socket's path is too long");
		return EXIT_FAILURE;
	}
	make_shm_prefix(p);
	return keeper_run(&options, run_executor, p);
}

/* What the executor's loop finds here; the layers of slots will stand beside it. */
static int probe(const struct config *c)
{
	struct loop loop;
	char error[512] = "";
	int r = loop_init(&loop, c->io_disable, error, sizeof(error));

	if (!c->json)
		printf("io_uring: %s%s", r < 0 ? "refused: " : "works", r < 0 ? error : "");
	else if (r < 0)
		printf("{\"io_uring\": {\"works\": false, \"error\": \"%s\"}}", error);
	else
		printf("{\"io_uring\": {\"works\": true");
	for (unsigned i = 0; r == 0 && loop_feature_name(i); i++)
		printf(c->json ? ", \"%s\": %s" : "\n  %-16s %s", loop_feature_name(i),
		       loop.features & (1u << i) ? (c->json ? "true" : "yes")
						 : (c->json ? "false" : "no"));
	printf(r == 0 && c->json ? "}}\n" : "\n");
	if (r == 0)
		loop_deinit(&loop);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static struct program program;
	char error[CONFIG_ERROR_BYTES];
	enum config_action action;
	int code = EXIT_SUCCESS;

	log_init("toolringd", LOG_INFO);
	if (config_parse(&program.config, argc, argv, environ, ".env", &action, error,
			 sizeof(error)) < 0) {
		fprintf(stderr, "toolringd: %s\n", error);
		return EXIT_FAILURE;
	}
	log_init("toolringd", program.config.log_level);
	if ((action == CONFIG_RUN || action == CONFIG_CHECK) && program.config.unread[0])
		log_warning("set, but nothing here reads it: %s", program.config.unread);
	switch (action) {
	case CONFIG_HELP:
		config_help(stdout);
		break;
	case CONFIG_VERSION:
		printf("toolringd %s\n", TR_VERSION);
		break;
	case CONFIG_CHECK:
		config_print(&program.config, stdout);
		break;
	case CONFIG_PROBE:
		code = probe(&program.config);
		break;
	case CONFIG_RUN:
		code = run(&program);
		break;
	}
	config_deinit(&program.config);
	return code;
}
