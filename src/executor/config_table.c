/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/config_table.h"

#include <assert.h>

#include "base/clock.h"
#include "io/loop.h"
#include "wire/call.h"

#define DAY_S (24 * 60 * 60)

#define SIZE_MOST (UINT64_C(1) << 50)

#define AT(member) offsetof(struct config, member)

static const char *const backends[] = {
	[CONFIG_BACKEND_LOCAL] = "local",
	[CONFIG_BACKEND_FAKE] = "fake",
	NULL,
};

static const char *const networks[] = {
	[CONFIG_NETWORK_NONE] = "none",
	[CONFIG_NETWORK_HOST] = "host",
	NULL,
};

/* As enum plan_layer has them; no slot can do without the first three. */
static const char *const layers[] = {"",        "",         "",       "ipc",  "network", "proc",
				     "seccomp", "landlock", "memory", "pids", "cpu",     NULL};

#define IO_FEATURE(bit) [__builtin_ctz(bit)]

static const char *const io_features[] = {
	IO_FEATURE(LOOP_SINGLE_ISSUER) = "single_issuer",
	IO_FEATURE(LOOP_DEFER_TASKRUN) = "defer_taskrun",
	IO_FEATURE(LOOP_COOP_TASKRUN) = "coop_taskrun",
	IO_FEATURE(LOOP_FUTEX) = "futex",
	IO_FEATURE(LOOP_REGISTERED_RING) = "registered_ring",
	NULL,
};
static_assert(LOOP_FEATURES_ALL == (1u << (sizeof(io_features) / sizeof(io_features[0]) - 1)) - 1,
	      "each feature of the loop has its name here");

static const char *const log_levels[] = {
	[LOG_ERROR] = "error",
	[LOG_WARNING] = "warning",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
	NULL,
};

const struct option config_options[] = {
	{
		.flag = "name",
		.type = OPTION_NAME,
		.offset = AT(name),
		.metavar = "NAME",
		.value = "default",
		.help = "Name of this instance, by which clients find it; one with a slash is the "
			"path of its control socket.",
	},
	{
		.flag = "socket",
		.type = OPTION_STRING,
		.offset = AT(socket),
		.metavar = "PATH",
		.value = "",
		.help = "Path of the control socket, unless it is to follow from the name.",
	},
	{
		.flag = "backend",
		.type = OPTION_CHOICE,
		.offset = AT(backend),
		.choices = backends,
		.metavar = "NAME",
		.value = "local",
		.help = "What provides the slots: local makes them on this machine; fake runs "
			"nothing and answers with the arguments it got.",
	},
	{
		.flag = "fake",
		.type = OPTION_STRING,
		.offset = AT(fake),
		.metavar = "OPTIONS",
		.value = "",
		.help = "Options of the fake backend, as it documents them.",
	},
	{
		.flag = "slots-max",
		.compat = "SLOTS",
		.type = OPTION_U32,
		.offset = AT(n_slots_max),
		.min = 1,
		.max = 1048576,
		.metavar = "N",
		.value = "4096",
		.help = "Most slots in use at a time.",
	},
	{
		.flag = "slots-min",
		.type = OPTION_U32,
		.offset = AT(n_slots_min),
		.max = CONFIG_SEATS_MAX,
		.metavar = "N",
		.value = "0",
		.help = "Slots made at the start, before anybody asks for one.",
	},
	{
		.flag = "slots-warm",
		.type = OPTION_U32,
		.offset = AT(n_slots_warm),
		.max = CONFIG_SEATS_MAX,
		.metavar = "N",
		.value = "2",
		.help = "Slots kept ready beyond those in use.",
	},
	{
		.flag = "network",
		.compat = "ALLOW_NETWORK",
		.compat_is_switch = true,
		.type = OPTION_CHOICE,
		.offset = AT(network),
		.choices = networks,
		.metavar = "WHICH",
		.value = "none",
		.help = "What slots may reach: none, nothing at all; host, this machine's network "
			"as it is, with its loopback and all that listens there.",
	},
	{
		.flag = "memory",
		.type = OPTION_BYTES,
		.offset = AT(memory_bytes),
		.min = LIMITS_MIB,
		.max = SIZE_MOST,
		.metavar = "BYTES",
		.value = "2G",
		.help = "Memory of a slot, without what its files take. A trajectory may ask for "
			"less, as of all that follows up to the CPU weight.",
	},
	{
		.flag = "disk",
		.type = OPTION_BYTES,
		.offset = AT(disk_bytes),
		.min = LIMITS_MIB,
		.max = SIZE_MOST,
		.metavar = "BYTES",
		.value = "1G",
		.help = "What the files in a slot's workspace may take; /tmp holds half of that, "
			"/dev/shm a quarter.",
	},
	{
		.flag = "pids",
		.type = OPTION_U32,
		.offset = AT(n_pids),
		.min = 16,
		.max = 4194304,
		.metavar = "N",
		.value = "512",
		.help = "Processes and threads in a slot, its own few among them.",
	},
	{
		.flag = "cpu-weight",
		.type = OPTION_U32,
		.offset = AT(cpu_weight),
		.min = 1,
		.max = 10000,
		.metavar = "N",
		.value = "100",
		.help = "A slot's share where the CPUs are busy, beside others of this machine.",
	},
	{
		.flag = "shell",
		.type = OPTION_STRING,
		.offset = AT(shell),
		.metavar = "PATH",
		.value = "",
		.help = "The shell in slots; unless set /bin/bash, or /bin/sh where there is none.",
	},
	{
		.flag = "slot-env",
		.type = OPTION_LIST,
		.offset = AT(slot_env),
		.separator = '\n',
		.metavar = "NAME=VALUE",
		.value = "",
		.help = "A variable in the environment of what runs in slots; may be given many "
			"times, in the environment and .env with line ends between them.",
	},
	{
		.flag = "slot-bind",
		.type = OPTION_LIST,
		.offset = AT(slot_binds),
		.separator = ',',
		.metavar = "SOURCE[:TARGET]",
		.value = "",
		.help = "A path of this machine that slots see, read-only; may be given many times, "
			"or as a list with commas.",
	},
	{
		.flag = "accept-missing",
		.type = OPTION_BITS,
		.offset = AT(accept_missing),
		.choices = layers,
		.each_by_name = true,
		.metavar = "LIST",
		.value = "",
		.help = "Layers around a slot to do without where this machine lacks them, each by "
			"name: ipc, network, proc, seccomp, landlock, memory, pids, cpu. A start "
			"fails where one but cpu is missing that is not named here.",
	},
	{
		.flag = "slot-program",
		.type = OPTION_STRING,
		.offset = AT(slot_program),
		.metavar = "PATH",
		.value = "",
		.help = "The program toolring-slot, unless it stands beside toolringd.",
	},
	{
		.flag = "uid-base",
		.type = OPTION_U32,
		.offset = AT(uid_base),
		.min = 65536,
		.max = UINT32_MAX - 65536,
		.metavar = "ID",
		.value = "1879048192",
		.help = "As root: the first of the user and group ids that slots run as, 65536 for "
			"each; nobody else may have them.",
	},
	{
		.flag = "acquire-timeout-s",
		.compat = "ACQUIRE_TIMEOUT_S",
		.type = OPTION_DURATION,
		.offset = AT(acquire_timeout_ns),
		.max = DAY_S * NS_PER_S,
		.scale = NS_PER_S,
		.metavar = "SECONDS",
		.value = "30",
		.help = "How long a trajectory's first call waits for a slot before it is answered "
			"unavailable; 0: not at all.",
	},
	{
		.flag = "idle-ttl-s",
		.type = OPTION_DURATION,
		.offset = AT(idle_ttl_ns),
		.min = NS_PER_MS,
		.max = 365 * DAY_S * NS_PER_S,
		.scale = NS_PER_S,
		.metavar = "SECONDS",
		.value = "600",
		.help = "How long a trajectory without calls keeps its slot.",
	},
	{
		.flag = "default-timeout-s",
		.type = OPTION_DURATION,
		.offset = AT(default_timeout_ns),
		.min = (uint64_t)WIRE_TIMEOUT_MIN_S * NS_PER_S,
		.max = (uint64_t)WIRE_TIMEOUT_MAX_S * NS_PER_S,
		.scale = NS_PER_S,
		.metavar = "SECONDS",
		.help = "How long a call may run that names no timeout; the backend's own time unless "
			"set, which is 30 s.",
	},
	{
		.flag = "batch-window-ms",
		.compat = "BATCH_WINDOW_MS",
		.type = OPTION_DURATION,
		.offset = AT(batch_window_ns),
		.max = 60 * NS_PER_S,
		.scale = NS_PER_MS,
		.metavar = "MS",
		.help = "How long calls are gathered for a target that is busy; the backend's own "
			"time unless set.",
	},
	{
		.flag = "max-batch-size",
		.compat = "MAX_BATCH_SIZE",
		.type = OPTION_LIMIT,
		.min = LIMIT_batch_calls_max,
		.metavar = "N",
		.help = "Most calls in one batch; the same as --limit batch_calls_max=N.",
	},
	{
		.flag = "spin-us",
		.type = OPTION_DURATION,
		.offset = AT(spin_ns),
		.max = NS_PER_S,
		.scale = NS_PER_US,
		.metavar = "US",
		.value = "50",
		.help = "The longest the executor looks for more work before it sleeps; 0: not at "
			"all.",
	},
	{
		.flag = "allow-uid",
		.type = OPTION_UIDS,
		.offset = AT(allow_uids),
		.metavar = "LIST",
		.help = "Who may attach: user ids or names, separated by commas. Unless set: the "
			"user that starts toolringd, and root. Others name the socket's path, "
			"since their default name leads to their own directory.",
	},
	{
		.flag = "user",
		.type = OPTION_USER,
		.offset = AT(user),
		.metavar = "NAME",
		.value = "nobody",
		.help = "Whom the executor becomes when root starts toolringd.",
	},
	{
		.flag = "external-tools",
		.type = OPTION_NAMES,
		.offset = AT(external_tools),
		.metavar = "LIST",
		.value = "",
		.help = "Names of tools that a tool server provides, separated by commas.",
	},
	{
		.flag = "io-disable",
		.type = OPTION_BITS,
		.offset = AT(io_disable),
		.choices = io_features,
		.metavar = "LIST",
		.value = "",
		.help = "Features of io_uring to do without, as on an older kernel: a list of "
			"single_issuer, defer_taskrun, coop_taskrun, futex, registered_ring, or "
			"all.",
	},
	{
		.flag = "log-level",
		.type = OPTION_CHOICE,
		.offset = AT(log_level),
		.choices = log_levels,
		.metavar = "LEVEL",
		.value = "info",
		.help = "How much is said on standard error: error, warning, info or debug.",
	},
	{
		.flag = "ready-fd",
		.type = OPTION_FD,
		.offset = AT(ready_fd),
		.metavar = "FD",
		.value = "-1",
		.help = "A descriptor to write one byte to and close once clients may attach; -1: "
			"none.",
	},
	{
		.flag = "stop-fd",
		.type = OPTION_FD,
		.offset = AT(stop_fd),
		.metavar = "FD",
		.value = "-1",
		.help = "A descriptor, usually a pidfd, that becomes readable when who started this "
			"has ended: toolringd then stops at once. With --socket the socket's folder "
			"is made at the start, and goes at the end if nothing else is in it. -1: none.",
	},
	{
		.flag = "limit",
		.type = OPTION_LIMITS,
		.metavar = "NAME=VALUE",
		.help = "Sets a limit; may be given many times. They are listed below.",
	},
	{
		.flag = "check-config",
		.type = OPTION_ACTION,
		.min = CONFIG_CHECK,
		.help = "Print every option and limit, where its value comes from and why it is "
			"there; exit 1 if something is wrong.",
	},
	{
		.flag = "probe",
		.type = OPTION_ACTION,
		.min = CONFIG_PROBE,
		.help = "Print what this machine can do, and exit.",
	},
	{
		.flag = "plan",
		.type = OPTION_ACTION,
		.min = CONFIG_PLAN,
		.help = "Print what slots would be made to, as JSON, and exit.",
	},
	{
		.flag = "json",
		.type = OPTION_SWITCH,
		.offset = AT(json),
		.value = "no",
		.help = "With --probe: print JSON.",
	},
	{
		.flag = "version",
		.type = OPTION_ACTION,
		.min = CONFIG_VERSION,
		.help = "Print the version, and exit.",
	},
	{
		.flag = "help",
		.type = OPTION_ACTION,
		.min = CONFIG_HELP,
		.help = "Print this, and exit.",
	},
};

const size_t n_config_options = sizeof(config_options) / sizeof(config_options[0]);
static_assert(sizeof(config_options) / sizeof(config_options[0]) <= CONFIG_N_OPTIONS_MAX,
	      "struct config has too few origins");

const struct limit_row config_limits[N_LIMITS] = {
#define LIMIT_ROW(name_, value_, min_, max_, unit_, reason_)                                       \
	{                                                                                          \
		.name = #name_,                                                                    \
		.value = (value_),                                                                 \
		.min = (min_),                                                                     \
		.max = (max_),                                                                     \
		.unit = (unit_),                                                                   \
		.reason = (reason_),                                                               \
		.offset = offsetof(struct limits, name_),                                          \
	},
	LIMITS(LIMIT_ROW)
#undef LIMIT_ROW
};

bool option_has_variable(const struct option *o)
{
	switch (o->type) {
	case OPTION_ACTION:
	case OPTION_LIMITS: /* each limit has its own */
	case OPTION_SWITCH:
	case OPTION_FD: /* descriptors are this process's alone, the environment is inherited */
		return false;
	default:
		return true;
	}
}

void config_variable(const char *prefix, const char *name, char *ret_variable, size_t n)
{
	snprintf(ret_variable, n, "%s%s", prefix, name);
	for (char *p = ret_variable; *p; p++) {
		if (*p == '-')
			*p = '_';
		else if (*p >= 'a' && *p <= 'z')
			*p = (char)(*p - 'a' + 'A');
	}
}
