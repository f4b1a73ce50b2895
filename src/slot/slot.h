/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLOT_SLOT_H
#define SLOT_SLOT_H

/*
 * A slot from inside: its init, pid 1 of the slot, which serves one call at a time; its rooms, each
 * with an init of its own; their zygotes. All in one small static program, none of which is ever
 * exec'ed by a slot: the maker forks the init, the init forks the rest.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <termios.h>

#include "backend/local/carry_out.h"
#include "backend/local/plan.h"
#include "base/buf.h"
#include "tool/slot/files.h"
#include "slot/screen.h"
#include "slot/shell.h"
#include "wire/slot.h"

#define SLOT_TEMPLATE   "/template" /* in the maker's root: what slots copy */
#define SLOT_BYTES_KEPT 16384       /* of a buffer, between two calls */

/* How something went, in another process of ours. */
struct slot_report {
	int32_t error;  /* 0: well */
	char step[124]; /* that failed */
};

/* r: 0 or -errno. */
static inline struct slot_report report_of(int r, const char *step)
{
	struct slot_report report = {.error = -r};

	if (r < 0)
		strncpy(report.step, step, sizeof(report.step) - 1);
	return report;
}

/* ---- zygotes -------------------------------------------------------------------------------------- */

enum zygote_kind {
	ZYGOTE_SHELL, /* the shell, loaded and initialised; only a bash can be that */
	ZYGOTE_PLAIN, /* ourselves; its children exec */
	ZYGOTE_SCREEN, /* no zygote, but started and ended like one: the terminal's screen (screen.h) */
	ZYGOTE_N_KINDS
};

struct zygote {
	pid_t pid; /* 0: none */
	int socket;
};

/* A child of a zygote: ready to take its command, or running it. */
struct child {
	pid_t pid;     /* as we see it; 0: none */
	int out;       /* what it writes, non-blocking */
	int err;       /* -1: closed */
	int command;   /* where it takes its command from; -1: it has it */
	bool is_asked; /* for, but its zygote has not said that it is there */
};

#define CHILD_NONE ((struct child){.out = -1, .err = -1, .command = -1})

/* ---- rooms ---------------------------------------------------------------------------------------- */

/* Written by a room's init, read by ours: what it reaped. */
struct room_account {
	uint64_t n_reaped;
	uint64_t user_ns;
	uint64_t system_ns;
	uint64_t memory_peak_bytes;
};

/* What we hold open of a room. */
enum {
	ROOM_TMP, /* to see whether it is empty */
	ROOM_SHM,
	ROOM_PROC, /* these are -1 where a room has no /proc */
	ROOM_NS_MOUNT,
	ROOM_NS_PID,
	ROOM_NS_IPC,
	ROOM_N_PLACES
};

struct room {
	pid_t pid; /* of its init; 0: there is no room */
	int pidfd;
	int socket; /* to its init */
	int places[ROOM_N_PLACES];
	bool is_shell;    /* the one that keeps what runs in it */
	bool is_dropped;  /* by us */
	bool is_finished; /* the late rows of the mount table are carried out */
	struct room_account *account;
	struct zygote zygotes[ZYGOTE_N_KINDS];
	struct child ahead; /* of the shell's zygote, made before it is needed */
};

/* ---- the stateful shell (shell.h) ------------------------------------------------------------------ */

struct shell {
	pid_t pid;  /* 0: there is none, or it was reaped */
	int socket; /* to it; -1: there is none */
	int master; /* of its pseudo-terminal; non-blocking */
	int slave;  /* held open, so that the master never hangs up */
	uint8_t nonces[SHELL_N_ORDERS][SHELL_NONCE_BYTES]; /* of the last order of each kind ... */
	uint32_t open;            /* ... and a bit for each that is not answered yet */
	uint32_t asked;           /* the kind of the last one; 0: it was answered */
	bool is_attached;         /* the screen reads the master, else we do */
	bool is_silent;           /* what we read is not for the screen */
	enum slot_shell_end lost; /* how the last one ended, until the next one is started */
	uint16_t n_columns, n_rows;
	struct termios modes; /* its terminal's, as each command finds them */
	bool is_reaped;
	int status;       /* as of waitpid(), when it was reaped */
	bool exits;       /* it has said so: it is not about to be replaced */
	uint64_t user_ns; /* as last reported */
	uint64_t system_ns;
};

/* ---- the screen of its terminal, and a call to it (terminal_run.c) ---------------------------------- */

struct screen_link {
	uint64_t serial;  /* of the last request */
	bool has_master;  /* it was sent the descriptor */
	bool is_attached; /* it reads it */
};

struct terminal_call {
	bool is_asked;   /* the screen has the request, or else the shell's prompt is waited for */
	bool wants_ask;  /* the shell is to be asked once its older answer has come */
	bool is_settled; /* it has answered, and the screen knows */
	bool is_done;    /* the screen's answer has begun */
	struct screen_done done;
	uint64_t hung_up_ns; /* when the shell hung up; 0: it has not */
	uint64_t
		give_up_ns; /* the screen was told to end it, and is ended itself then; 0: it was not */
	bool screen_is_lost;
	uint64_t calm_ns; /* an interrupt waits so long for what was typed before; 0: it need not */
};

/* ---- the run of a command ------------------------------------------------------------------------- */

/* What came out of one stream: the first bytes of it, and how many there were. */
struct capture {
	struct buf bytes;
	uint64_t n_total;
	uint64_t n_max;            /* to keep */
	bool is_large;             /* its pipe is a larger one */
	uint64_t n_characters;     /* begun in what is kept */
	uint64_t n_characters_max; /* of text; 0: it is none */
};

struct run {
	bool is_active;
	struct slot_request request;
	struct room *room;
	struct child child;
	struct capture out, err;
	int output;         /* ARTIFACT_*: a file of memory, which the job writes to; -1 */
	struct buf command; /* what is not sent to the child yet: from n_sent on */
	size_t n_sent;
	uint64_t started_ns;
	uint64_t deadline_ns;
	bool has_ended; /* the child was reaped */
	bool timed_out;
	bool is_idle; /* with timed_out: it wrote nothing for too long */
	bool cancelled;
	bool room_is_lost; /* it was ended with what was kept there */
	bool room_died;    /* by itself, under the run */
	/* SHELL */
	bool is_parking;                /* its command waits for the shell to be at its prompt */
	bool is_hung_up;                /* no report comes any more, only its end */
	bool shell_was_started;         /* by this call ... */
	enum slot_shell_end shell_lost; /* ... as the one before had ended so */
	enum slot_shell_end shell_end;
	uint64_t heard_ns;   /* when it last wrote something */
	uint64_t killed_ns;  /* when what is too late is killed; 0: it was not interrupted yet */
	int status;          /* as of waitpid() */
	uint32_t had_zygote; /* as struct slot_reply's */
	struct rusage usage;
	struct room_account account; /* the room's at the start */
};

struct slot {
	const struct plan *plan;
	struct plan_params params;
	int control;
	int event_fds[CGROUP_N_FDS];
	uint64_t events[CGROUP_N_FDS]; /* as last seen */
	int null;                      /* /dev/null, to write to */
	struct workspace workspace;
	bool has_late; /* the namespaces that a slot without rooms does without */
	struct room call_room;
	struct room shell_room;
	struct shell shell;
	struct screen_link screen;
	struct terminal_call terminal;
	struct run run;
	struct buf output, error, resolved; /* of files */
	struct slot_request abort;          /* to be answered when the run is over */
	bool has_abort;
	bool shell_was_lost; /* the shell room died, and nobody was told yet */
	bool ends;           /* the control socket was hung up */
};

/* ---- init.c --------------------------------------------------------------------------------------- */

/* The whole life of a slot's init, in a process that was just cloned. gate: a byte comes when the id
 * maps are written; its birth is told there, by a struct slot_report. */
_Noreturn void init_main(const struct plan *plan, const struct plan_params *params, int control,
			 int gate, const int event_fds[CGROUP_N_FDS]);

/* ---- serve.c -------------------------------------------------------------------------------------- */

/* Serves until the control socket is hung up. */
void serve(struct slot *s);
/* The control socket has something to say while a command runs. */
void serve_while_running(struct slot *s);
void serve_reply(struct slot *s, struct slot_reply *reply,
		 const struct span parts[SLOT_N_REPLY_PARTS]);
/* Where the output stands in a file of memory, which is not empty; no other parts. */
void serve_reply_file(struct slot *s, struct slot_reply *reply, int file);
/* The beginnings of an answer. */
struct slot_reply serve_reply_to(const struct slot_request *request);
/* An answer of a verdict and words alone. */
void serve_error(struct slot *s, const struct slot_request *request, enum tr_verdict verdict,
		 const char *error);

/* ---- capture.c ------------------------------------------------------------------------------------ */

#define CAPTURE_MAX        (UINT64_C(80) << 20)
#define CAPTURE_TURN_BYTES (4 << 20) /* of one stream before we look at the clock again */

/* n_max: bytes to keep; characters, if it is text. */
void capture_begin(struct capture *c, uint64_t n_max, bool is_text);
/* Reads what there is, up to about n_turn_max bytes. Closes at the end. */
void capture_read(struct slot *s, struct capture *c, int *fd, size_t n_turn_max);
/*
 * What is in the pipe now, and no more: who is kept, or was handed the pipe by somebody, may go on
 * writing, or hold it open.
 */
void capture_rest(struct slot *s, struct capture *c, int *fd);

/* ---- run.c ---------------------------------------------------------------------------------------- */

void run_init(struct slot *s);
/* Gives the memory back that runs have left. */
void run_deinit(struct slot *s);
/* The child that was asked for ahead is there now. */
void run_settle_ahead(struct slot *s);
/* Answers that it could not be started. */
void run_not_started(struct slot *s, const struct slot_request *request, const char *step,
		     int error);
/* It begins now; its request is settled. */
void run_begin(struct slot *s, const struct slot_request *request, struct room *room, bool is_text);
/* Until it has run too long, or written nothing for too long ... */
struct timespec run_time_left(const struct run *run);
/* ... and whether that is so now. */
void run_check_time(struct run *run);
/* Starts a BASH or EXEC; what cannot be started is answered at once. */
void run_start(struct slot *s, const struct slot_request *request,
	       const struct span parts[SLOT_N_REQUEST_PARTS]);
/* Waits for what the run does next, or for the control socket, and moves the run on. */
void run_step(struct slot *s);
/* A child of ours has ended; is it the run's? */
void run_reaped(struct slot *s, pid_t pid, int status, const struct rusage *usage);

/* ---- shell.c -------------------------------------------------------------------------------------- */

void shell_init(struct shell *sh);
/*
 * Makes the shell, PARKED, if there is none, or the one there was is no shell any more (which the
 * terminal has no need of). *ret_lost, if
 * *ret_started: how that had ended. -errno, with the step.
 */
int shell_start(struct slot *s, bool for_terminal, bool *ret_started, enum slot_shell_end *ret_lost,
		const char **ret_step);
/* Ends the shell and its screen; what it left running in the room lives on. */
void shell_end(struct slot *s, enum slot_shell_end how);
/* It has ended: nothing of it is held any more. */
void shell_forget(struct slot *s, enum slot_shell_end how);
/* A child of ours has ended: was it the shell? */
void shell_reaped(struct slot *s, pid_t pid, int status);
/* How it has ended by itself, now that it was reaped. */
enum slot_shell_end shell_how_ended(struct slot *s);
/* Sends an order of a new number. -errno: the shell cannot be reached. */
int shell_order(struct slot *s, enum shell_kind kind);
/* The same in two parts, for a COMMAND: text is what fits the message. */
int shell_order_make(struct slot *s, enum shell_kind kind, uint64_t n_bytes,
		     struct shell_order *ret_order);
int shell_send(struct slot *s, const struct shell_order *order, struct span text);
/*
 * 1: the report to the open order has come; 0: nothing has; -EBADMSG: something else, for which the
 * shell's room is ended, as LIED; -EPIPE: it has hung up.
 */
int shell_hear(struct slot *s, struct shell_report *ret);
/* The terminal is the screen's to read, and the prompt shown. Waits a moment for both. */
int shell_attach(struct slot *s);
/* It is ours again: the shell has reported that it is PARKED. */
void shell_detached(struct slot *s);
/* Its terminal is as commands find it, whatever the last one made of it. true: it was not. */
bool shell_set_modes(struct slot *s, bool for_command);
/* Whoever reads from it is at the end, now ... */
void shell_end_input(struct slot *s);
/* ... and again. */
void shell_renew_input(struct slot *s);
/* While PARKED: takes what comes out when no command runs, for the screen or for nobody. */
void shell_drain(struct slot *s);
/* What poll() is to watch for shell_drain(); -1: nothing. */
int shell_drain_fd(const struct slot *s);

/* ---- shell_run.c ---------------------------------------------------------------------------------- */

/* Starts a SHELL; what cannot be started is answered at once. */
void shell_run_start(struct slot *s, const struct slot_request *request,
		     const struct span parts[SLOT_N_REQUEST_PARTS]);
void shell_run_step(struct slot *s);

/* ---- terminal.c: the init's side of the screen ------------------------------------------------------ */

/* Makes the screen if there is none, of the shell's size. */
int screen_start(struct slot *s, const char **ret_step);
void screen_end(struct slot *s);
/* The screen reads the master from now on / no more: all that is there was read. -errno: it was ended. */
int screen_attach(struct slot *s);
int screen_detach(struct slot *s);
/* Shows what a command wrote while PARKED, if there is a screen. */
void screen_feed(struct slot *s, struct span bytes);
/* Its socket; -1: there is no screen. */
int screen_socket(const struct slot *s);
/* One message. -errno: it was ended. */
int screen_send(struct slot *s, enum screen_kind kind, uint64_t serial, struct span text);
/* 1: one has come, text lives until the next; 0: none; -errno: what came is none. */
int screen_hear(struct slot *s, struct screen_message *ret, struct span *ret_text);

/* ---- terminal_run.c --------------------------------------------------------------------------------- */

/* Starts a TERMINAL; what cannot be started is answered at once. */
void terminal_run_start(struct slot *s, const struct slot_request *request,
			const struct span parts[SLOT_N_REQUEST_PARTS]);
void terminal_run_step(struct slot *s);

/* ---- terminal_answer.c ------------------------------------------------------------------------------ */

/* Has all of the screen's answer come? */
bool terminal_is_whole(const struct slot *s);
/* Answers a TERMINAL that is over. */
void terminal_answer(struct slot *s);

/* ---- job.c: artifacts -------------------------------------------------------------------------------- */

/* In a child of the plain zygote: does what comes by its command's socket, and leaves. */
_Noreturn void job_main(int command);
bool job_is(const struct slot_request *request);
/* Whether it is short work for the init itself. */
bool job_is_short(const struct slot *s, const struct slot_request *request,
		  const struct span parts[SLOT_N_REQUEST_PARTS]);
/* Does that, and answers. */
void job_serve(struct slot *s, const struct slot_request *request,
	       const struct span parts[SLOT_N_REQUEST_PARTS]);
/* Makes what a job writes to; -errno. run_start() starts its child, which is then told what to do. */
int job_prepare(struct run *run);
void job_order(struct run *run, struct span path);
/* Kills it, and waits until it is gone, or a second has passed. Returns how many are left. */
uint32_t job_kill(struct slot *s);
/* Answers for one that is over. error: what is known to have ended it. */
void job_answer(struct slot *s, struct slot_reply *reply, struct span error);

/* ---- answer.c ------------------------------------------------------------------------------------- */

/* The answer to a run that is over. n_left: processes that could not be ended. */
void answer_run(struct slot *s, uint32_t n_killed, uint32_t n_left);
/* Did the kernel end something here for want of memory or pids since the last look? */
void answer_look_at_events(struct slot *s, bool *ret_oom, bool *ret_pids);

/* ---- room.c --------------------------------------------------------------------------------------- */

void room_init(struct room *room, bool is_shell);
/* Makes the room if there is none. -errno, with the step that failed. */
int room_make(struct slot *s, struct room *room, const char **ret_step);
/* Puts this process into the room's namespaces; the pid namespace is its children's. */
int room_enter(const struct slot *s, const struct room *room);
/* Ends the room with all that is in it. */
void room_drop(struct slot *s, struct room *room);
/* Does its init answer? */
bool room_is_alive(const struct room *room);
/* How many there are in the room besides its init; -errno. */
int room_count(const struct room *room);
/*
 * Kills all in the room but its init, and waits until they are gone, or a second has passed. Returns
 * how many are left: 0 is the proof. Counts those it killed.
 */
uint32_t room_clear(struct slot *s, struct room *room, uint32_t *ret_n_killed);
/* Empties /tmp, /dev/shm and what the ipc namespace holds after a stateless call. */
void room_tidy(struct slot *s, struct room *room);
/* Carries out the late rows of the mount table, or undoes them for a zygote to be made anew. */
int room_finish(struct room *room, bool undo, const char **ret_step);
/* A child of ours has ended: was it a room's? */
void room_reaped(struct slot *s, pid_t pid);

/* ---- tidy.c --------------------------------------------------------------------------------------- */

/* Empties a directory, but for more than a few thousand entries or too deep ones. -errno; -E2BIG. */
int tidy_directory(int fd);
/* Removes all System V IPC objects there are in this namespace. -EBUSY: some are left. */
int tidy_ipc(void);

/* ---- zygote.c ------------------------------------------------------------------------------------- */

/* Makes sure that the room has this zygote. */
int zygote_start(struct slot *s, struct room *room, enum zygote_kind kind, const char **ret_step);
void zygote_end(struct zygote *z);
/*
 * Forks a child in the room, whose standard input is input (closed here in any case; -1: an empty
 * one), in two halves: asked for, and there. In between nothing of the room may be reaped, as nobody
 * knows the child's pid. On an error the child is closed.
 */
int zygote_fork_begin(struct room *room, enum zygote_kind kind, int input, struct child *ret_child);
int zygote_fork_end(struct room *room, enum zygote_kind kind, struct child *c);
/* Ends one that never got its command. */
void child_discard(struct child *c);
/* Closes what we hold of a child. One that never got its command leaves by that. */
void child_close(struct child *c);

/* ---- spawner.c ------------------------------------------------------------------------------------ */

/* The plan's environment under what a call gives; for free(), or NULL. */
char **spawner_env(const struct plan *p, char **given, size_t n_given);
/* Where memory runs out this process goes before others. Whoever is in its room might look into it. */
void spawner_offer_to_oom(void);
/* The plain zygote's whole life. */
_Noreturn void spawner_main(const struct plan *plan);

/* ---- init.c --------------------------------------------------------------------------------------- */

/* Reaps what has ended of our children; WNOHANG, or 0 to wait for one. */
void init_reap(struct slot *s, int flags);
/* While init acts on files it has the guest's rights, but to clean up. */
void init_act_as_guest(const struct slot *s);
void init_act_as_init(const struct slot *s);

#endif
