/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stateful shell's start, in a child of the shell room's plain zygote: a pseudo-terminal of the
 * room's own, which becomes its controlling one, and bash on it. Before it is bash nobody in the room
 * may look into it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "slot/pty.h"
#include "slot/slot.h"
#include "slot/zygote.h"

/* The socket, and what bash loads, as the shell gets them. */
#define SHELL_FDS_AT 10
#define LOAD         "PROMPT_COMMAND=enable -f /proc/self/fd/11 toolring_shell; toolring_shell 10"

static int open_pty(const struct winsize *size, int ret_fds[PTY_N_FDS])
{
	int unlocked = 0;
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK), slave;

	if (master < 0)
		return -errno;
	if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCSWINSZ, size) < 0)
		return -errno;
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	/* We lead a session of our own. */
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return -errno;
	ret_fds[PTY_MASTER] = master;
	ret_fds[PTY_SLAVE] = slave;
	return 0;
}

static int start(const struct plan *p, int command, const struct winsize *size, int object)
{
	char name[] = "bash", no_profile[] = "--noprofile", no_rc[] = "--norc", flag[] = "-i";
	char term[] = "TERM=xterm-256color", load[] = LOAD, history[] = "HISTFILE=";
	char *argv[] = {name, no_profile, no_rc, flag, NULL}, *given[] = {term, load, history};
	int fds[PTY_N_FDS], r = open_pty(size, fds);
	char **env;
	ssize_t n;

	if (r < 0)
		return r;
	if (dup2(STDIN_FILENO, SHELL_FDS_AT) < 0 || dup2(object, SHELL_FDS_AT + 1) < 0)
		return -errno;
	n = fdpass_send(command, "", 1, fds, PTY_N_FDS, 0);
	if (n < 0)
		return (int)n;
	for (int fd = 0; fd <= 2; fd++)
		if (dup2(fds[PTY_SLAVE], fd) < 0)
			return -errno;
	env = spawner_env(p, given, sizeof(given) / sizeof(*given));
	if (!env)
		return -ENOMEM;
	execve(p->shell, argv, env);
	return -errno;
}

void pty_main(const struct plan *p, int command, const struct winsize *size, int object)
{
	int32_t error = start(p, command, size, object);

	send(command, &error, sizeof(error), MSG_NOSIGNAL);
	_exit(ZYGOTE_EXIT_CANNOT);
}
