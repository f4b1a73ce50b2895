/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/local/probe_part.h"
#include "base/cleanup.h"

void probe_works(struct probe_row *row, const char *format, ...)
{
	va_list args;

	*row = (struct probe_row){.works = true};
	va_start(args, format);
	vsnprintf(row->detail, sizeof(row->detail), format, args);
	va_end(args);
}

void probe_detail(struct probe_row *row, int error, const char *format, ...)
{
	va_list args;

	*row = (struct probe_row){.error = error};
	va_start(args, format);
	vsnprintf(row->detail, sizeof(row->detail), format, args);
	va_end(args);
}

void probe_remedy(struct probe_row *row, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(row->remedy, sizeof(row->remedy), format, args);
	va_end(args);
}

int probe_read_text(const char *path, char *ret_text, size_t n)
{
	_cleanup_(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t at = 0;
	ssize_t r;

	if (fd < 0)
		return -errno;
	while (at < n - 1 && (r = read(fd, ret_text + at, n - 1 - at)) != 0) {
		if (r < 0)
			return -errno;
		at += (size_t)r;
	}
	ret_text[at] = '\0';
	return 0;
}

long probe_read_number(const char *path)
{
	char text[32], *end;
	long number;

	if (probe_read_text(path, text, sizeof(text)) < 0)
		return -1;
	number = strtol(text, &end, 10);
	return end == text ? -1 : number;
}

bool probe_has_seccomp(void)
{
	char text[8192];
	const char *line;

	if (probe_read_text("/proc/self/status", text, sizeof(text)) < 0)
		return false;
	line = strstr(text, "\nSeccomp:");
	return line && strtol(line + strlen("\nSeccomp:"), NULL, 10) == 2;
}

void probe_blame_seccomp(struct probe_row *row, int error, const char *calls)
{
	probe_detail(row, error, "a seccomp filter refuses %s: a container's profile, or a unit's",
		     calls);
	probe_remedy(row,
		     "docker or podman: run --security-opt seccomp=unconfined (or a profile that "
		     "allows %s); Kubernetes: seccompProfile: {type: Unconfined}; systemd: "
		     "RestrictNamespaces=no and no SystemCallFilter= in the unit",
		     calls);
}

void probe_blame_security_module(struct probe_row *row, int error, const char *step)
{
	probe_detail(row, error, "%s: %s, most likely by a security module", step, strerror(error));
	probe_remedy(
		row,
		"see which: dmesg | grep -iE 'apparmor|selinux|audit|denied' | tail; in a "
		"container: run --security-opt apparmor=unconfined --security-opt label=disable");
}
