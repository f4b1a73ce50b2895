/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fdpass.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(FDPASS_MAX * sizeof(int))];
};

ssize_t fdpass_send(int socket, const void *data, size_t n, const int *fds, size_t n_fds, int flags)
{
	struct iovec io = {.iov_base = (void *)data, .iov_len = n};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};
	union control c;
	ssize_t r;

	if (n_fds > FDPASS_MAX)
		return -EINVAL;
	if (n_fds) {
		memset(&c, 0, sizeof(c));
		m.msg_control = &c;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c.header.cmsg_level = SOL_SOCKET;
		c.header.cmsg_type = SCM_RIGHTS;
		c.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(&c.header), fds, n_fds * sizeof(int));
	}
	do {
		r = sendmsg(socket, &m, flags | MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

static size_t take_fds(struct msghdr *m, int ret_fds[FDPASS_MAX])
{
	size_t n = 0;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		size_t n_here;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		n_here = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n_here; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
			if (n < FDPASS_MAX)
				ret_fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

ssize_t fdpass_receive(int socket, void *data, size_t n, int ret_fds[FDPASS_MAX], int flags)
{
	struct iovec io = {.iov_base = data, .iov_len = n};
	union control c;
	struct msghdr m = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &c,
		.msg_controllen = sizeof(c),
	};
	ssize_t r;

	for (size_t i = 0; i < FDPASS_MAX; i++)
		ret_fds[i] = -1;
	do {
		r = recvmsg(socket, &m, flags | MSG_CMSG_CLOEXEC);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	take_fds(&m, ret_fds);
	if (m.msg_flags & MSG_CTRUNC) {
		for (size_t i = 0; i < FDPASS_MAX; i++) {
			if (ret_fds[i] >= 0)
				close(ret_fds[i]);
			ret_fds[i] = -1;
		}
		return -EMSGSIZE;
	}
	return r;
}
