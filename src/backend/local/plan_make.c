/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is settled here: which layers there are, whose ids slots have, limits, the environment. The
 * mount table is plan_mounts.c's, the filter seccomp.c's. What a slot's root is made of and where its
 * workspace comes from are rows of that table and nothing else: an image or a copy would be others.
 */
#include "backend/local/plan_make.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backend/local/plan_rows.h"
#include "base/cleanup.h"

#define IDS_PER_SEAT      65536
#define GUEST_ID          1000
#define DESCRIPTORS       1024 /* of a guest's process, if it does not ask for more */
#define DESCRIPTORS_MAX   4096
#define DESCRIPTORS_SHARE 4 /* at most one part in so many of toolringd's */
#define LAYER(layer)      (UINT32_C(1) << (layer))
/* Without these a slot is none. */
#define LAYERS_NEEDED (LAYER(PLAN_USER) | LAYER(PLAN_PID) | LAYER(PLAN_MOUNT))

int plan_refuse(struct plan_making *m, int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(m->error, m->n_error, format, args);
	va_end(args);
	return r;
}

/* ---- layers ----------------------------------------------------------------------------------------- */

/* Appends to the error, as far as there is room. */
__attribute__((format(printf, 2, 3))) static void add_text(struct plan_making *m,
							   const char *format, ...)
{
	size_t n = strlen(m->error);
	va_list args;

	va_start(args, format);
	vsnprintf(m->error + n, m->n_error - n, format, args);
	va_end(args);
}

static int refuse_missing(struct plan_making *m, uint32_t missing)
{
	const char *comma = "; or do without: --accept-missing=";

	plan_refuse(m, -EPERM, "this machine does not allow all that isolates a slot");
	for (uint32_t i = 0; i < PLAN_N_LAYERS; i++) {
		const struct probe_row *row = &m->probe->rows[i];

		if (missing & LAYER(i))
			add_text(m, "; %s: %s%s%s", plan_layer_name((enum plan_layer)i),
				 row->detail, row->remedy[0] ? "; remedy: " : "", row->remedy);
	}
	for (uint32_t i = 0; i < PLAN_N_LAYERS && !(missing & LAYERS_NEEDED); i++) {
		if (!((missing | m->options->accept_missing) & LAYER(i)))
			continue;
		add_text(m, "%s%s", comma, plan_layer_name((enum plan_layer)i));
		comma = ",";
	}
	return -EPERM;
}

static int settle_layers(struct plan_making *m)
{
	uint32_t all = LAYER(PLAN_N_LAYERS) - 1, missing;
	struct plan *p = m->plan;

	for (uint32_t i = 0; i < PLAN_N_LAYERS; i++) {
		if (m->probe->rows[i].works)
			p->layers |= LAYER(i);
		if (m->options->accept_missing & LAYERS_NEEDED & LAYER(i))
			return plan_refuse(m, -EINVAL,
					   "--accept-missing: no slot can do without %s",
					   plan_layer_name((enum plan_layer)i));
	}
	/* The lack of a CPU weight isolates nothing less. */
	missing = all & ~p->layers & ~LAYER(PLAN_CPU);
	p->accepted = missing & m->options->accept_missing;
	missing &= ~p->accepted;
	return missing ? refuse_missing(m, missing) : 0;
}

/* ---- ids ------------------------------------------------------------------------------------------ */

static void cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

/* How many ids from first on exist in the user namespace that toolringd is in. */
static uint64_t ids_there(const char *map, uint64_t first)
{
	_cleanup_(cleanup_file) FILE *f = fopen(map, "re");
	uint64_t inside, outside, n, end = first;

	while (f && fscanf(f, "%" SCNu64 " %" SCNu64 " %" SCNu64, &inside, &outside, &n) == 3)
		if (end >= inside && end - inside < n)
			end = inside + n;
	return end - first;
}

static int settle_ids(struct plan_making *m)
{
	const struct plan_options *o = m->options;
	struct plan *p = m->plan;
	uint64_t wanted = (uint64_t)o->n_seats * IDS_PER_SEAT;

	p->guest_uid = GUEST_ID;
	p->guest_gid = GUEST_ID;
	p->n_seats = o->n_seats;
	p->n_ids = 1;
	p->outer_uid = geteuid();
	p->outer_gid = getegid();
	if (!m->probe->is_root)
		return 0;
	p->uid_first = o->uid_base;
	p->n_ids = IDS_PER_SEAT;
	if (o->uid_base < IDS_PER_SEAT || o->uid_base + wanted >= UINT32_MAX)
		return plan_refuse(
			m, -EINVAL,
			"--uid-base %" PRIu32 ": %" PRIu32 " slots take %d ids each, which "
			"must lie from %d to %" PRIu32,
			o->uid_base, o->n_seats, IDS_PER_SEAT, IDS_PER_SEAT, UINT32_MAX - 1);
	if (ids_there("/proc/self/uid_map", o->uid_base) < wanted ||
	    ids_there("/proc/self/gid_map", o->uid_base) < wanted)
		return plan_refuse(
			m, -EINVAL,
			"--uid-base %" PRIu32 ": this container does not have the %" PRIu64
			" ids from there on that %" PRIu32 " slots take; another base or "
			"fewer slots may fit (cat /proc/self/uid_map), or start toolringd "
			"as an ordinary user",
			o->uid_base, wanted, o->n_seats);
	return 0;
}

/* ---- limits --------------------------------------------------------------------------------------- */

/* No more than what toolringd has itself: it could not give that. */
static void add_rlimit(struct plan *p, int resource, uint64_t soft, uint64_t hard)
{
	struct rlimit own;

	if (getrlimit((__rlimit_resource_t)resource, &own) == 0 && own.rlim_max < hard)
		hard = own.rlim_max;
	p->rlimits[p->n_rlimits++] = (struct plan_rlimit){
		.resource = resource, .soft = soft < hard ? soft : hard, .hard = hard};
}

/*
 * The kernel counts descriptors in flight for each user, against the sender's limit. Guests who are
 * the same user as toolringd should come to their end long before it does, or it could pass none.
 * It is no wall: newer kernels count them when they are queued, so many senders who wait at once
 * for room in full datagram queues, all let in before, can go past it.
 */
static void add_descriptors(struct plan *p)
{
	uint64_t hard = DESCRIPTORS_MAX;
	struct rlimit own;

	if (p->n_ids == 1 && getrlimit(RLIMIT_NOFILE, &own) == 0 &&
	    own.rlim_max / DESCRIPTORS_SHARE < hard)
		hard = own.rlim_max / DESCRIPTORS_SHARE;
	add_rlimit(p, RLIMIT_NOFILE, DESCRIPTORS, hard);
}

static void settle_rlimits(struct plan *p)
{
	/* With 0 a core_pattern that is a pipe gets dumps all the same; 1 means none to the kernel. That
	 * it stays so is the filter's doing. */
	add_rlimit(p, RLIMIT_CORE, 1, 1);
	add_descriptors(p);
	add_rlimit(p, RLIMIT_MEMLOCK, 64 << 10, 64 << 10);
	add_rlimit(p, RLIMIT_MSGQUEUE, 0, 0);
	add_rlimit(p, RLIMIT_STACK, 8 << 20, RLIM_INFINITY);
	add_rlimit(p, RLIMIT_SIGPENDING, 4096, 4096);
	/* What counts processes where no cgroup does. */
	if (!plan_has(p, PLAN_PIDS))
		add_rlimit(p, RLIMIT_NPROC, p->params.n_pids, p->params.n_pids);
}

/* ---- environment ---------------------------------------------------------------------------------- */

static const char *const environment[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/workspace",
	"LANG=C.UTF-8",
	"TERM=dumb",
	"USER=user",
};

static size_t name_length(const char *variable)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789_";
	size_t n = strspn(variable, letters);

	return variable[n] == '=' && (variable[0] < '0' || variable[0] > '9') ? n : 0;
}

static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return !strncmp(a, b, n + 1);
}

static int add_variable(struct plan_making *m, const char *variable)
{
	struct plan *p = m->plan;
	size_t n = strlen(variable) + 1;

	if (n > PLAN_ENV_MAX - p->n_env_bytes)
		return plan_refuse(m, -EINVAL, "--slot-env: more than %d bytes together",
				   PLAN_ENV_MAX);
	memcpy(p->env + p->n_env_bytes, variable, n);
	p->n_env_bytes += (uint32_t)n;
	return 0;
}

/* Of two with one name the last counts, and the operator's over ours. */
static int settle_environment(struct plan_making *m)
{
	const struct plan_options *o = m->options;
	size_t n_own = sizeof(environment) / sizeof(environment[0]);
	int r = 0;

	for (size_t i = 0; i < n_own + o->n_env && r == 0; i++) {
		const char *variable = i < n_own ? environment[i] : o->env[i - n_own];
		bool hidden = false;

		if (!name_length(variable))
			return plan_refuse(
				m, -EINVAL,
				"--slot-env: \"%.40s\" is not NAME=VALUE, with a name of "
				"letters, digits and '_'",
				variable);
		for (size_t j = i < n_own ? 0 : i - n_own + 1; j < o->n_env; j++)
			hidden = hidden || same_name(variable, o->env[j]);
		if (!hidden)
			r = add_variable(m, variable);
	}
	return r;
}

/* ---- all of it ------------------------------------------------------------------------------------ */

static int settle_options(struct plan_making *m)
{
	const struct plan_options *o = m->options;
	struct plan *p = m->plan;

	if (o->n_seats < 1 || o->n_seats > PLAN_SEATS_MAX)
		return plan_refuse(m, -EINVAL,
				   "%" PRIu32 " slots, with spares, are more than the %d "
				   "that may be: lower --slots-max or --slots-warm",
				   o->n_seats, PLAN_SEATS_MAX);
	if (strlen(o->cgroup_prefix) >= sizeof(p->cgroup.prefix))
		return plan_refuse(m, -EINVAL, "the cgroups' prefix is too long");
	p->params = o->params;
	p->cgroup = m->probe->cgroup;
	p->cgroup.cpu_weight = o->cpu_weight;
	strcpy(p->cgroup.prefix, o->cgroup_prefix);
	return 0;
}

int plan_make(struct plan *p, const struct plan_options *options, const struct probe *probe,
	      char *error, size_t n_error)
{
	struct plan_making m = {
		.plan = p, .options = options, .probe = probe, .error = error, .n_error = n_error};
	int r;

	memset(p, 0, sizeof(*p));
	p->magic = PLAN_MAGIC;
	p->version = PLAN_VERSION;
	p->size = sizeof(*p);
	r = settle_options(&m);
	if (r == 0)
		r = settle_layers(&m);
	if (r == 0)
		r = settle_ids(&m);
	if (r == 0)
		r = settle_environment(&m);
	if (r < 0)
		return r;
	settle_rlimits(p);
	r = plan_make_mounts(&m);
	if (r < 0)
		return r;
	plan_make_rules(&m);
	return plan_has(p, PLAN_SECCOMP) ? seccomp_make(p, error, n_error) : 0;
}
