/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/config_table.h"

#include <assert.h>

#include "base/clock.h"
#include "io/loop.h"
#include "wire/call.h"

#define DAY_S (24 * 60 * 60)

#define AT(member) offsetof(struct config, member)

static const char *const backends[] = {
	[CONFIG_BACKEND_FAKE] = "fake",
	NULL,
};

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
		.value = "fake",
		.help = "What provides the slots. So far only the fake backend exists, which runs "
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
