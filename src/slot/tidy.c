/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cleaning up after a stateless call: no guest runs meanwhile, so what is seen stays as it is. Small
 * remains are removed one by one; the rest is the caller's to throw away as a whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "slot/dents.h"
#include "slot/slot.h"

#define DEPTH_MAX   24
#define ENTRIES_MAX 2048

static bool is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static int empty(int fd, unsigned depth, unsigned *n_left);

static int remove_entry(int fd, const char *name, unsigned depth, unsigned *n_left)
{
	_cleanup_(cleanup_close) int below = -1;
	int r;

	if ((*n_left)-- == 0)
		return -E2BIG;
	if (unlinkat(fd, name, 0) == 0)
		return 0;
	if (errno != EISDIR)
		return -errno;
	if (unlinkat(fd, name, AT_REMOVEDIR) == 0)
		return 0;
	if (errno != ENOTEMPTY)
		return -errno;
	if (depth == DEPTH_MAX)
		return -E2BIG;
	below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (below < 0)
		return -errno;
	r = empty(below, depth + 1, n_left);
	if (r < 0)
		return r;
	return unlinkat(fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Removing moves entries: the directory is read from the start until nothing is found there. */
static int empty(int fd, unsigned depth, unsigned *n_left)
{
	struct dents d;
	const char *name = "";
	bool found;
	int r;

	do {
		found = false;
		r = dents_open(&d, fd, 0);
		while (r == 0 && (r = dents_next(&d, &name)) > 0) {
			r = 0;
			if (is_dot(name))
				continue;
			found = true;
			r = remove_entry(fd, name, depth, n_left);
		}
	} while (r == 0 && found);
	return r;
}

int tidy_directory(int fd)
{
	unsigned n_left = ENTRIES_MAX;

	return empty(fd, 0, &n_left);
}

/* ---- System V IPC --------------------------------------------------------------------------------- */

union semctl_argument {
	int value;
	struct semid_ds *ds;
	struct seminfo *info;
};

static int tidy_shm(void)
{
	struct shm_info info;
	struct shmid_ds ds;
	int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info);

	for (int i = 0; i <= last && info.used_ids; i++) {
		int id = shmctl(i, SHM_STAT, &ds);

		if (id >= 0 && shmctl(id, IPC_RMID, NULL) < 0)
			return -EBUSY;
	}
	return last > 0 && shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info) >= 0 &&
			       info.used_ids
		       ? -EBUSY
		       : 0;
}

static int tidy_sem(void)
{
	struct seminfo info;
	struct semid_ds ds;
	int last = semctl(0, 0, SEM_INFO, (union semctl_argument){.info = &info});

	for (int i = 0; i <= last && info.semusz; i++) {
		int id = semctl(i, 0, SEM_STAT, (union semctl_argument){.ds = &ds});

		if (id >= 0 && semctl(id, 0, IPC_RMID) < 0)
			return -EBUSY;
	}
	return 0;
}

static int tidy_msg(void)
{
	struct msginfo info;
	struct msqid_ds ds;
	int last = msgctl(0, MSG_INFO, (struct msqid_ds *)(void *)&info);

	for (int i = 0; i <= last && info.msgpool; i++) {
		int id = msgctl(i, MSG_STAT, &ds);

		if (id >= 0 && msgctl(id, IPC_RMID, NULL) < 0)
			return -EBUSY;
	}
	return 0;
}

int tidy_ipc(void)
{
	int r = tidy_shm();

	if (r == 0)
		r = tidy_sem();
	if (r == 0)
		r = tidy_msg();
	return r;
}
