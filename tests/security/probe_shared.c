/* SPDX-License-Identifier: Apache-2.0 */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define KEY  0x746f6f6c
#define NAME "/toolring-test"

static int of(long r)
{
	return r < 0 ? -errno : 0;
}

/* Tells that it went well, and stays. */
_Noreturn static void stay(void)
{
	printf("ok\n");
	fflush(stdout);
	for (;;)
		pause();
}

static socklen_t abstract_address(const char *name, struct sockaddr_un *ret_address)
{
	size_t n = strlen(name);

	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (n > sizeof(ret_address->sun_path) - 1)
		n = sizeof(ret_address->sun_path) - 1;
	memcpy(ret_address->sun_path + 1, name, n);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
}

int probe_abstract_connect(const char *name)
{
	struct sockaddr_un address;
	socklen_t n = abstract_address(name, &address);

	return of(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, n));
}

int probe_abstract_listen(const char *name)
{
	struct sockaddr_un address;
	socklen_t n = abstract_address(name, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&address, n) < 0 || listen(fd, 1) < 0)
		return -errno;
	stay();
}

int probe_path_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
	int r = -EINVAL;

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	for (size_t i = 0; i < 3; i++) {
		r = of(connect(socket(AF_UNIX, types[i], 0), (struct sockaddr *)&address,
			       sizeof(address)));
		if (r != -EPROTOTYPE)
			break;
	}
	return r;
}

int probe_shm_make(const char *argument)
{
	(void)argument;
	return of(shmget(KEY, 4096, IPC_CREAT | IPC_EXCL | 0666));
}

int probe_shm_find(const char *argument)
{
	(void)argument;
	return of(shmget(KEY, 0, 0));
}

int probe_sem_make(const char *argument)
{
	(void)argument;
	return of(semget(KEY, 1, IPC_CREAT | IPC_EXCL | 0666));
}

int probe_sem_find(const char *argument)
{
	(void)argument;
	return of(semget(KEY, 0, 0));
}

int probe_msg_make(const char *argument)
{
	(void)argument;
	return of(msgget(KEY, IPC_CREAT | IPC_EXCL | 0666));
}

int probe_msg_find(const char *argument)
{
	(void)argument;
	return of(msgget(KEY, 0));
}

int probe_mq_make(const char *argument)
{
	struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 1};

	(void)argument;
	return of(mq_open(NAME, O_CREAT | O_EXCL | O_RDWR, 0666, &attr));
}

int probe_mq_find(const char *argument)
{
	(void)argument;
	return of(mq_open(NAME, O_RDONLY));
}

int probe_swap(const char *names)
{
	char *a = strdup(names), *b = strchr(a, ' ');

	if (!b)
		return -EINVAL;
	*b++ = '\0';
	printf("ok\n");
	fflush(stdout);
	for (;;)
		if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2 /* RENAME_EXCHANGE */) < 0)
			return -errno;
}

int probe_terminal_make(const char *argument)
{
	(void)argument;
	if (open("/dev/ptmx", O_RDWR | O_NOCTTY) < 0)
		return -errno;
	stay();
}
