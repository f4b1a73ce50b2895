/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroup layers: memory, pids, cpu. v2 if it has the controllers, else v1, each of them wherever
 * its hierarchy is.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/local/probe_part.h"

#define LAYER(layer) (UINT32_C(1) << (layer))

static const enum plan_layer layers[] = {PLAN_MEMORY, PLAN_PIDS, PLAN_CPU};

#define N_LAYERS (sizeof(layers) / sizeof(layers[0]))

static char *folder_of(struct plan_cgroup *c, enum plan_layer layer)
{
	return layer == PLAN_MEMORY ? c->memory : layer == PLAN_PIDS ? c->pids : c->cpu;
}

static bool has_systemd(void)
{
	return access("/run/systemd/system", F_OK) == 0;
}

/* ---- who refuses ---------------------------------------------------------------------------------- */

/* A cgroup of its own for this user, by root's hand, where there is no systemd to ask. */
static void remedy_by_hand(struct probe_row *row, const struct cgroup_place *place)
{
	unsigned uid = (unsigned)geteuid(), gid = (unsigned)getegid();

	if (place->version == 2)
		probe_remedy(
			row,
			"sudo sh -c 'cd %.100s && echo \"+memory +pids +cpu\" "
			">cgroup.subtree_control; mkdir toolring-%u && chown -R %u toolring-%u "
			"&& echo $$ >toolring-%u/cgroup.procs && exec setpriv --reuid %u --regid "
			"%u --clear-groups toolringd'",
			place->top, uid, uid, uid, uid, uid, gid);
	else
		probe_remedy(
			row,
			"sudo sh -c \"cd %.180s && mkdir -p toolring-%u && chown -R %u toolring-%u "
			"&& echo $$ >toolring-%u/cgroup.procs\"  # in the shell that starts "
			"toolringd",
			place->own, uid, uid, uid, uid);
}

static void blame_delegation(struct probe_row *row, const struct probe *probe,
			     const struct cgroup_place *place, const struct cgroup_fault *fault)
{
	probe_detail(row, fault->error, "cgroup v%u: %s: %s: %s: it was not delegated to us",
		     place->version, fault->folder, fault->step, strerror(fault->error));
	if (probe->is_root)
		probe_remedy(row, "docker or podman: run --privileged, or -v "
				  "/sys/fs/cgroup:/sys/fs/cgroup:rw --cgroupns=private; see also: "
				  "dmesg | grep -iE 'apparmor|denied' | tail");
	else if (place->version == 2 && has_systemd())
		probe_remedy(row, "start it as: systemd-run --user --scope -p Delegate=yes "
				  "toolringd ...; or with Delegate=yes in its unit");
	else
		remedy_by_hand(row, place);
}

static void blame_others(struct probe_row *row, const struct probe *probe,
			 const struct cgroup_fault *fault)
{
	probe_detail(row, fault->error,
		     "cgroup v2: others are in our cgroup, %s: so it can hold none for slots",
		     fault->folder);
	if (has_systemd())
		probe_remedy(row,
			     "start it in one of its own: systemd-run %s--scope -p Delegate=yes "
			     "toolringd ...; or with Delegate=yes in its unit",
			     probe->is_root ? "" : "--user ");
	else
		probe_remedy(
			row,
			"cd %.110s; mkdir others toolring; for p in $(cat cgroup.procs); do echo "
			"$p >others/cgroup.procs; done; echo '+memory +pids +cpu' "
			">cgroup.subtree_control; sh -c 'echo $$ >toolring/cgroup.procs; exec "
			"toolringd'",
			fault->folder);
}

static void blame(struct probe_row *row, const struct probe *probe,
		  const struct cgroup_place *place, const struct cgroup_fault *fault)
{
	if (fault->error == EBUSY && place->version == 2) {
		blame_others(row, probe, fault);
	} else if (fault->error == EROFS) {
		probe_detail(row, EROFS, "cgroup v%u: %s is mounted read-only, as in a container",
			     place->version, fault->folder);
		probe_remedy(row, "docker or podman: run --privileged, or -v "
				  "/sys/fs/cgroup:/sys/fs/cgroup:rw --cgroupns=private");
	} else if (fault->error == EACCES || fault->error == EPERM) {
		blame_delegation(row, probe, place, fault);
	} else {
		probe_detail(row, fault->error, "cgroup v%u: %s: %s: %s", place->version,
			     fault->folder, fault->step, strerror(fault->error));
		probe_remedy(row, "see whether it can be done by hand: mkdir %.200s/test",
			     fault->folder);
	}
}

/* The controller is in no hierarchy that we can see. */
static void blame_absence(struct probe_row *row, const char *name, const struct cgroup_place *v2)
{
	if (!cgroup_kernel_has(name)) {
		probe_detail(row, ENOENT, "this kernel has no %s controller, or not at boot", name);
		probe_remedy(row,
			     "add cgroup_enable=%s to the kernel's command line, take "
			     "cgroup_disable=%s out of it, and reboot",
			     name, name);
	} else if (v2->version == 2 && strcmp(v2->own, v2->top) != 0 &&
		   cgroup_lists(v2->top, "cgroup.controllers", name)) {
		probe_detail(
			row, ENOENT,
			"cgroup v2: the %s controller is there, but not given to our cgroup, %s",
			name, v2->own);
		probe_remedy(row,
			     "sudo mkdir -p /etc/systemd/system/user@.service.d && printf "
			     "'[Service]\\nDelegate=cpu memory pids\\n' | sudo tee "
			     "/etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl "
			     "daemon-reload, log in anew; in a service: Delegate=yes in its unit");
	} else {
		probe_detail(row, ENOENT, "no %s controller of cgroups is mounted here", name);
		probe_remedy(row,
			     "sudo mkdir -p /sys/fs/cgroup/%s && sudo mount -t cgroup -o %s cgroup "
			     "/sys/fs/cgroup/%s; in a container: run -v "
			     "/sys/fs/cgroup:/sys/fs/cgroup:rw --cgroupns=private",
			     name, name, name);
	}
}

/* ---- the rows ------------------------------------------------------------------------------------- */

static void try_one(struct probe *probe, enum plan_layer layer, const struct cgroup_place *place,
		    const char *home)
{
	struct probe_row *row = &probe->rows[layer];
	struct cgroup_fault fault = {0};

	if (!cgroup_try(home, place->version, layer, &fault)) {
		blame(row, probe, place, &fault);
		return;
	}
	probe_works(row, "cgroup v%u, %s", place->version, home);
	strcpy(folder_of(&probe->cgroup, layer), home);
	probe->cgroup.version = place->version;
}

static void probe_v2(struct probe *probe, const struct cgroup_place *place)
{
	struct cgroup_fault fault = {0};
	uint32_t on = cgroup_settle_v2(probe, place, &fault);

	for (size_t i = 0; i < N_LAYERS; i++) {
		struct probe_row *row = &probe->rows[layers[i]];
		const char *name = plan_layer_name(layers[i]);

		if (on & LAYER(layers[i]))
			try_one(probe, layers[i], place, probe->home);
		else if (fault.error && fault.error != ENOENT)
			blame(row, probe, place, &fault);
		else
			blame_absence(row, name, place);
	}
}

static void probe_v1(struct probe *probe, const struct cgroup_place *v2)
{
	for (size_t i = 0; i < N_LAYERS; i++) {
		const char *name = plan_layer_name(layers[i]);
		struct cgroup_place place = cgroup_find(name);

		if (place.version)
			try_one(probe, layers[i], &place, place.own);
		else
			blame_absence(&probe->rows[layers[i]], name, v2);
	}
}

/* Does v2 have the controllers? All are in one hierarchy, or in another: memory tells which. */
static bool v2_has_controllers(const struct cgroup_place *v2)
{
	if (v2->version != 2)
		return false;
	return cgroup_lists(v2->top, "cgroup.controllers", "memory") ||
	       cgroup_lists(v2->top, "cgroup.controllers", "pids") ||
	       !cgroup_find("memory").version;
}

void probe_cgroups(struct probe *probe)
{
	struct cgroup_place v2 = cgroup_find(NULL);

	if (v2_has_controllers(&v2))
		probe_v2(probe, &v2);
	else
		probe_v1(probe, &v2);
}
