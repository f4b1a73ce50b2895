/* SPDX-License-Identifier: Apache-2.0 */
/* toolringd: reads the configuration, then is the keeper, whose children are executors. */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <toolring/toolring.h>

#include "backend/local/plan_make.h"
#include "base/clock.h"
#include "base/log.h"
#include "executor/config.h"
#include "executor/executor.h"
#include "io/loop.h"
#include "keeper/keeper.h"

/* What the executor's own steps take at most after the last grace. */
#define STOP_MARGIN_NS (5 * NS_PER_S)

#define EXIT_USAGE       2
#define PLAN_ERROR_BYTES 4096

struct program {
	struct config config;
	char socket_path[256];
	char shm_prefix[64];
	struct probe probe;
	struct plan *plan; /* what slots are made to; NULL: the backend makes none here */
	char slot_program[PATH_MAX];
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
		.plan = p->plan,
		.store = child->store,
		.backend_notes = child->backend_notes,
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

/* ---- what slots are made to ----------------------------------------------------------------------- */

static_assert(CONFIG_SEATS_MAX == PLAN_SEATS_MAX, "what may be said is what there is room for");

/* Writes the folder of the file at path, with its slash; "" if there is none. */
static void folder_of(const char *path, char *ret_folder, size_t n)
{
	const char *slash = strrchr(path, '/');

	snprintf(ret_folder, n, "%.*s", slash ? (int)(slash - path + 1) : 0, path);
}

/* As said, or beside us, as we were built, or where we were installed to. */
static int find_slot_program(struct program *p)
{
	static const char *const places[] = {"", "../libexec/toolring/", NULL};
	char self[PATH_MAX - 64] = "", folder[PATH_MAX - 64], path[PATH_MAX];
	const char *said = p->config.slot_program;

	if (*said && realpath(said, p->slot_program) && access(p->slot_program, X_OK) == 0)
		return 0;
	if (*said || readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) {
		fprintf(stderr, "toolringd: --slot-program: %s cannot be run: %s\n", said,
			strerror(errno));
		return -ENOENT;
	}
	folder_of(self, folder, sizeof(folder));
	for (const char *const *place = places; *place; place++) {
		snprintf(path, sizeof(path), "%s%stoolring-slot", folder, *place);
		if (realpath(path, p->slot_program) && access(p->slot_program, X_OK) == 0)
			return 0;
	}
	if (realpath(TOOLRING_LIBEXECDIR "/toolring-slot", p->slot_program) &&
	    access(p->slot_program, X_OK) == 0)
		return 0;
	fprintf(stderr, "toolringd: there is no toolring-slot in %s or in %s; see --slot-program\n",
		folder, TOOLRING_LIBEXECDIR);
	return -ENOENT;
}

/* The object for bash stands beside toolring-slot; without it each shell starts anew. */
static bool find_zygote(const struct program *p, char *ret_path, size_t n)
{
	char folder[PATH_MAX - 64];

	folder_of(p->slot_program, folder, sizeof(folder));
	snprintf(ret_path, n, "%stoolring-zygote.so", folder);
	return access(ret_path, R_OK) == 0;
}

/* SOURCE or SOURCE:TARGET; cuts text up. */
static struct plan_bind_option read_bind(char *text)
{
	char *colon = strchr(text, ':');

	if (colon)
		*colon = '\0';
	return (struct plan_bind_option){.source = text, .target = colon ? colon + 1 : text};
}

/* From what was said, and what probe_machine() found. accept_missing: more than was said. */
static int make_plan(struct program *p, uint32_t accept_missing, char *error, size_t n_error)
{
	const struct config *c = &p->config;
	struct plan_bind_option binds[PLAN_MOUNTS_MAX];
	char zygote[PATH_MAX];
	struct plan_options options = {
		.params = {.memory_bytes = c->memory_bytes,
			   .disk_bytes = c->disk_bytes,
			   .n_pids = c->n_pids,
			   .network = c->network == CONFIG_NETWORK_HOST ? PLAN_NETWORK_HOST
									: PLAN_NETWORK_NONE},
		.n_seats = c->n_slots_max + c->n_slots_warm + CONFIG_SEATS_GOING,
		.uid_base = c->uid_base,
		.cpu_weight = c->cpu_weight,
		.accept_missing = c->accept_missing | accept_missing,
		.shell = c->shell,
		.zygote = find_zygote(p, zygote, sizeof(zygote)) ? zygote : NULL,
		.env = (const char *const *)c->slot_env.items,
		.n_env = c->slot_env.n,
		.binds = binds,
		.cgroup_prefix = p->shm_prefix,
	};

	for (; options.n_binds < c->slot_binds.n && options.n_binds < PLAN_MOUNTS_MAX;
	     options.n_binds++)
		binds[options.n_binds] = read_bind(c->slot_binds.items[options.n_binds]);
	p->plan = malloc(sizeof(*p->plan));
	if (!p->plan)
		return -ENOMEM;
	return plan_make(p->plan, &options, &p->probe, error, n_error);
}

/* ---- running -------------------------------------------------------------------------------------- */

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
	/* Who started us may end at any moment, and must have nothing to tidy up then. */
	bool is_private = p->config.socket[0] && p->config.stop_fd >= 0;
	struct keeper_options options = {
		.socket_path = p->socket_path,
		.own_directory =
			is_private || (!p->config.socket[0] && !strchr(p->config.name, '/')),
		.removes_directory = is_private,
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
		.stop_fd = p->config.stop_fd,
		.notes_bytes = p->config.n_slots_max * sizeof(struct slot_note),
		.stats_bytes = sizeof(struct tr_stats),
		.plan = p->plan,
		.slot_program = p->slot_program,
		.backend_notes_bytes = executor_backend_notes_bytes(&p->config, p->plan),
	};

	return keeper_run(&options, run_executor, p);
}

/* What has to be known before anything starts, or can be said about it. */
static int settle(struct program *p)
{
	char error[PLAN_ERROR_BYTES] = "no memory";
	int r;

	if (config_socket_path(&p->config, p->socket_path, sizeof(p->socket_path)) < 0) {
		log_error("the socket's path is too long");
		return -ENAMETOOLONG;
	}
	make_shm_prefix(p);
	if (p->config.backend != CONFIG_BACKEND_LOCAL)
		return 0;
	if (find_slot_program(p) < 0)
		return -ENOENT;
	probe_machine(&p->probe);
	r = make_plan(p, 0, error, sizeof(error));
	if (r < 0)
		fprintf(stderr, "toolringd: %s\n", error);
	return r;
}

static int print_plan(struct program *p)
{
	if (settle(p) < 0)
		return EXIT_FAILURE;
	if (!p->plan) {
		fprintf(stderr, "toolringd: --plan: this backend makes no slots here\n");
		return EXIT_FAILURE;
	}
	plan_print(p->plan, stdout);
	return EXIT_SUCCESS;
}

/* ---- what this machine allows --------------------------------------------------------------------- */

static void print_loop(const struct loop *loop, bool json)
{
	fputs(json ? "\"io_uring\": {\"works\": true" : "io_uring: works", stdout);
	for (unsigned i = 0; loop_feature_name(i); i++)
		printf(json ? ", \"%s\": %s" : "\n  %-16s %s", loop_feature_name(i),
		       loop->features & (1u << i) ? (json ? "true" : "yes")
						  : (json ? "false" : "no"));
	fputs(json ? ", \"detail\": \"a ring was set up\", \"remedy\": \"\"}" : "\n", stdout);
}

/* An error says "CAUSE: REMEDY". */
static void print_refusal(const char *error, bool json)
{
	const char *colon = strstr(error, ": ");
	char cause[512];

	if (!json) {
		printf("io_uring: refused: %s\n", error);
		return;
	}
	snprintf(cause, sizeof(cause), "%.*s", colon ? (int)(colon - error) : 511, error);
	fputs("\"io_uring\": {\"works\": false, \"error\": ", stdout);
	probe_print_string(error, stdout);
	fputs(", \"detail\": ", stdout);
	probe_print_string(cause, stdout);
	fputs(", \"remedy\": ", stdout);
	probe_print_string(colon ? colon + 2 : "", stdout);
	putchar('}');
}

static int probe_loop(const struct config *c)
{
	struct loop loop;
	char error[512] = "";
	int r = loop_init(&loop, c->io_disable, error, sizeof(error));

	if (r < 0) {
		print_refusal(error, c->json);
		return r;
	}
	print_loop(&loop, c->json);
	loop_deinit(&loop);
	return 0;
}

/* What a slot would have if all that is missing were accepted. */
static int probe_slot(struct program *p)
{
	char error[PLAN_ERROR_BYTES] = "toolring-slot is not there";
	uint32_t missing = 0;
	int r;

	for (uint32_t i = 0; i < PLAN_N_LAYERS; i++)
		if (!p->probe.rows[i].works && i != PLAN_USER && i != PLAN_PID && i != PLAN_MOUNT)
			missing |= UINT32_C(1) << i;
	r = find_slot_program(p);
	if (r == 0)
		r = make_plan(p, missing, error, sizeof(error));
	if (p->config.json)
		probe_print_slot_json(&p->probe, r == 0 ? p->plan : NULL, error, stdout);
	else
		probe_print_slot(&p->probe, r == 0 ? p->plan : NULL, error, stdout);
	return r;
}

/* Told whether or not the backend that was chosen makes slots here. */
static int probe(struct program *p)
{
	bool json = p->config.json;
	bool works;

	fputs(json ? "{" : "", stdout);
	works = probe_loop(&p->config) == 0;
	fputs(json ? ", " : "", stdout);
	fflush(stdout);
	probe_machine(&p->probe);
	if (json)
		probe_print_json(&p->probe, stdout);
	else
		probe_print(&p->probe, stdout);
	works = probe_is_full(&p->probe) && works;
	fputs(json ? ", " : "", stdout);
	works = probe_slot(p) == 0 && works;
	fputs(json ? "}\n" : "", stdout);
	return works ? EXIT_SUCCESS : EXIT_FAILURE;
}

/*
 * From the first look at the machine on there is something to undo at our end: who tells us to stop
 * earlier than the keeper listens is heard by it then, or when all is undone.
 */
static void defer_stops(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(how, &set, NULL);
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
		return EXIT_USAGE;
	}
	log_init("toolringd", program.config.log_level);
	if ((action == CONFIG_RUN || action == CONFIG_CHECK) && program.config.unread[0])
		log_warning("set, but nothing here reads it: %s", program.config.unread);
	defer_stops(SIG_BLOCK);
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
		code = probe(&program);
		break;
	case CONFIG_PLAN:
		code = print_plan(&program);
		break;
	case CONFIG_RUN:
		code = settle(&program) < 0 ? EXIT_FAILURE : run(&program);
		break;
	}
	probe_undo(&program.probe);
	free(program.plan);
	config_deinit(&program.config);
	/* A stop that nobody has heard ends us as it would have. */
	if (action != CONFIG_RUN)
		defer_stops(SIG_UNBLOCK);
	return code;
}
