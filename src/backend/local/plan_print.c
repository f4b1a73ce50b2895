/* SPDX-License-Identifier: Apache-2.0 */
/* A plan as JSON, for people and programs to look at what slots are made to. */
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

#include "backend/local/landlock_abi.h"
#include "backend/local/plan_make.h"
#include "base/utf8.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static const char *const stages[] = {
	[PLAN_TEMPLATE] = "template",
	[PLAN_SLOT] = "slot",
	[PLAN_ROOM] = "room",
	[PLAN_ROOM_LATE] = "room_late",
};
static const char *const kinds[] = {
	[PLAN_DIRECTORY] = "directory", [PLAN_SYMLINK] = "symlink", [PLAN_BIND] = "bind",
	[PLAN_DEVICE] = "device",       [PLAN_COPY] = "copy",       [PLAN_TMPFS] = "tmpfs",
	[PLAN_PROCFS] = "procfs",       [PLAN_DEVPTS] = "devpts",
};
static const char *const accesses[] = {
	"execute",   "write_file", "read_file", "read_dir",  "remove_dir", "remove_file",
	"make_char", "make_dir",   "make_reg",  "make_sock", "make_fifo",  "make_block",
	"make_sym",  "refer",      "truncate",  "ioctl_dev",
};
static const char *const scopes[] = {"abstract_unix_socket", "signal"};
static const struct {
	int resource;
	const char *name;
} resources[] = {
	{RLIMIT_CORE, "core"},         {RLIMIT_NOFILE, "nofile"}, {RLIMIT_MEMLOCK, "memlock"},
	{RLIMIT_MSGQUEUE, "msgqueue"}, {RLIMIT_STACK, "stack"},   {RLIMIT_SIGPENDING, "sigpending"},
	{RLIMIT_NPROC, "nproc"},
};

/* A string; what is no UTF-8 shows as U+FFFD. */
static void print_text(FILE *out, const char *text, size_t n)
{
	const uint8_t *at = (const uint8_t *)text, *end = at + n;

	fputc('"', out);
	while (at < end) {
		size_t length = utf8_character(at, (size_t)(end - at));

		if (length == 0)
			fputs("\\ufffd", out);
		else if (*at == '"' || *at == '\\')
			fprintf(out, "\\%c", *at);
		else if (*at < 0x20 || *at == 0x7f)
			fprintf(out, "\\u%04x", *at);
		else
			fwrite(at, 1, length, out);
		at += length ? length : 1;
	}
	fputc('"', out);
}

static void print_string(FILE *out, const char *text)
{
	print_text(out, text, strlen(text));
}

/* "NAME": "TEXT" */
static void print_member(FILE *out, const char *before, const char *name, const char *text)
{
	fprintf(out, "%s\"%s\": ", before, name);
	print_string(out, text);
}

static void print_bits(FILE *out, uint64_t bits, const char *const *names, size_t n)
{
	const char *comma = "";

	fputc('[', out);
	for (size_t i = 0; i < n; i++) {
		if (!(bits >> i & 1))
			continue;
		fputs(comma, out);
		print_string(out, names[i]);
		comma = ", ";
	}
	fputc(']', out);
}

static void print_layers(const struct plan *p, FILE *out)
{
	const char *names[PLAN_N_LAYERS];

	for (uint32_t i = 0; i < PLAN_N_LAYERS; i++)
		names[i] = plan_layer_name((enum plan_layer)i);
	fputs("  \"layers\": ", out);
	print_bits(out, p->layers, names, PLAN_N_LAYERS);
	fputs(",\n  \"accepted_missing\": ", out);
	print_bits(out, p->accepted, names, PLAN_N_LAYERS);
	fputs(",\n", out);
}

static void print_numbers(const struct plan *p, FILE *out)
{
	const struct plan_params *most = &p->params;

	fprintf(out,
		"  \"ids\": {\"first\": %" PRIu32 ", \"per_slot\": %" PRIu32 ", \"slots\": %" PRIu32
		", \"outer_uid\": %" PRIu32 ", \"outer_gid\": %" PRIu32 ", \"guest_uid\": %" PRIu32
		", \"guest_gid\": %" PRIu32 "},\n",
		p->uid_first, p->n_ids, p->n_seats, p->outer_uid, p->outer_gid, p->guest_uid,
		p->guest_gid);
	fprintf(out,
		"  \"limits\": {\"network\": \"%s\", \"memory_bytes\": %" PRIu64
		", \"disk_bytes\": %" PRIu64 ", \"pids\": %" PRIu32
		", \"memory_cap_bytes\": %" PRIu64 "},\n",
		most->network == PLAN_NETWORK_HOST ? "host" : "none", most->memory_bytes,
		most->disk_bytes, most->n_pids, plan_memory_cap(p, most));
	print_member(out, "  ", "shell", p->shell);
	fputs(",\n", out);
	if (p->has_zygote)
		print_member(out, "  ", "zygote", p->zygote_path);
	else
		fputs("  \"zygote\": null", out);
	fputs(",\n", out);
}

static void print_cgroup(const struct plan_cgroup *c, FILE *out)
{
	fprintf(out, "  \"cgroup\": {\"version\": %" PRIu32 ", \"cpu_weight\": %" PRIu32,
		c->version, c->cpu_weight);
	print_member(out, ", ", "memory", c->memory);
	print_member(out, ", ", "pids", c->pids);
	print_member(out, ", ", "cpu", c->cpu);
	print_member(out, ", ", "prefix", c->prefix);
	fputs("},\n", out);
}

static void print_rlimit(const struct plan_rlimit *l, FILE *out)
{
	const char *name = "?";

	for (size_t i = 0; i < LENGTH(resources); i++)
		if (resources[i].resource == l->resource)
			name = resources[i].name;
	fprintf(out, "\"%s\": {\"soft\": ", name);
	if (l->soft == RLIM_INFINITY)
		fputs("null", out);
	else
		fprintf(out, "%" PRIu64, l->soft);
	fputs(", \"hard\": ", out);
	if (l->hard == RLIM_INFINITY)
		fputs("null", out);
	else
		fprintf(out, "%" PRIu64, l->hard);
	fputc('}', out);
}

static void print_landlock(const struct plan *p, FILE *out)
{
	fprintf(out, "  \"landlock\": {\"abi\": %" PRIu32 ", \"handled\": ", p->landlock_abi);
	print_bits(out, p->landlock_handled, accesses, LENGTH(accesses));
	fputs(", \"scoped_with_network\": ", out);
	print_bits(out, p->landlock_scoped, scopes, LENGTH(scopes));
	fputs(", \"rules\": [", out);
	for (uint32_t i = 0; i < p->n_rules; i++) {
		print_member(out, i ? ",\n    {" : "\n    {", "path", p->rules[i].path);
		fputs(", \"access\": ", out);
		print_bits(out, p->rules[i].access, accesses, LENGTH(accesses));
		fputc('}', out);
	}
	fputs("]},\n", out);
}

static void print_seccomp(const struct plan *p, FILE *out)
{
	const char *name;

	fprintf(out, "  \"seccomp\": {\"instructions\": %" PRIu32 ", \"denied\": [", p->n_filter);
	for (size_t i = 0; p->n_filter && (name = seccomp_denied(i)); i++) {
		fputs(i ? ", " : "", out);
		print_string(out, name);
	}
	fputs("]},\n", out);
}

static void print_mount(const struct plan *p, const struct plan_mount *m, FILE *out)
{
	fprintf(out, "\n    {\"stage\": \"%s\", \"kind\": \"%s\"", stages[m->stage],
		kinds[m->kind]);
	print_member(out, ", ", "target", m->target);
	if (m->source[0])
		print_member(out, ", ", "source", m->source);
	if (m->mode)
		fprintf(out, ", \"mode\": \"%04o\"", m->mode);
	if (m->kind == PLAN_TMPFS || m->kind == PLAN_DIRECTORY)
		fprintf(out, ", \"owner\": \"%s\"", m->guest_owned ? "guest" : "init");
	if (m->kind == PLAN_TMPFS)
		fprintf(out, ", \"bytes\": %" PRIu64 ", \"inodes\": %" PRIu64,
			plan_mount_bytes(m, &p->params), plan_mount_inodes(m, &p->params));
	fputc('}', out);
}

static void print_env(const struct plan *p, FILE *out)
{
	const char *comma = "";

	fputs("  \"env\": {", out);
	for (uint32_t at = 0; at < p->n_env_bytes; comma = ", ") {
		const char *variable = p->env + at;
		size_t n = strcspn(variable, "=");

		fputs(comma, out);
		print_text(out, variable, n);
		fputs(": ", out);
		print_string(out, variable + n + 1);
		at += (uint32_t)strlen(variable) + 1;
	}
	fputs("}\n", out);
}

void plan_print(const struct plan *p, FILE *out)
{
	fprintf(out, "{\n  \"version\": %" PRIu32 ",\n", p->version);
	print_layers(p, out);
	print_numbers(p, out);
	print_cgroup(&p->cgroup, out);
	fputs("  \"rlimits\": {", out);
	for (uint32_t i = 0; i < p->n_rlimits; i++) {
		fputs(i ? ", " : "", out);
		print_rlimit(&p->rlimits[i], out);
	}
	fputs("},\n", out);
	print_landlock(p, out);
	print_seccomp(p, out);
	fputs("  \"mounts\": [", out);
	for (uint32_t i = 0; i < p->n_mounts; i++) {
		fputs(i ? "," : "", out);
		print_mount(p, &p->mounts[i], out);
	}
	fputs("],\n", out);
	print_env(p, out);
	fputs("}\n", out);
}
