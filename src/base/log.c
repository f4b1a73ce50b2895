/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static const char *log_who = "toolring";
static enum log_level log_level = LOG_INFO;

void log_init(const char *who, enum log_level level)
{
	log_who = who;
	log_level = level;
}

void log_write(enum log_level level, const char *format, ...)
{
	static const char *const names[] = {"error: ", "warning: ", "", "debug: "};
	char line[1024];
	int saved = errno;
	int n, m;
	struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
	va_list args;
	ssize_t done;

	if (level > log_level)
		return;
	n = snprintf(line, sizeof(line) - 1, "%s[%d]: %s", log_who, (int)getpid(), names[level]);
	va_start(args, format);
	m = vsnprintf(line + n, sizeof(line) - 1 - (size_t)n, format, args);
	va_end(args);
	if (m > 0)
		n += m;
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n++] = '\n';
	/* One write, so that lines of keeper and executor do not mix; a full pipe loses the line. */
	if (poll(&out, 1, 0) > 0 && (out.revents & POLLOUT)) {
		done = write(STDERR_FILENO, line, (size_t)n);
		(void)done;
	}
	errno = saved;
}
