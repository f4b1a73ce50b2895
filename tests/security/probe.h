/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SECURITY_PROBE_H
#define TESTS_SECURITY_PROBE_H

/* Attempts of probe.c that lie elsewhere. 0 or -errno. */

/* About limits: of a process, and of this one's dumps (-EPERM: it is not what was asked for). */
int probe_prlimit(const char *pid);
int probe_core_limit(const char *argument);
/* The kernel's queues for input and output; of the older ones the whole machine has only so many. */
int probe_aio(const char *argument);
int probe_io_uring(const char *argument);

/* About what two parties share. */

/* Abstract and path sockets by name. Listening says "ok" and stays until it is killed. */
int probe_abstract_connect(const char *name);
int probe_abstract_listen(const char *name);
int probe_path_connect(const char *path);
/* System V and POSIX IPC objects of one fixed key or name: made, and looked for. */
int probe_shm_make(const char *argument);
int probe_shm_find(const char *argument);
int probe_sem_make(const char *argument);
int probe_sem_find(const char *argument);
int probe_msg_make(const char *argument);
int probe_msg_find(const char *argument);
int probe_mq_make(const char *argument);
int probe_mq_find(const char *argument);
/* "A B": exchanges these two names again and again until it is killed. */
int probe_swap(const char *names);
/* Opens a terminal and keeps it until it is killed. */
int probe_terminal_make(const char *argument);

#endif
