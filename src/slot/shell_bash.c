/* SPDX-License-Identifier: Apache-2.0 */

/*
 * toolring-zygote.so's other half: makes an interactive bash the stateful shell (shell.h). It takes the
 * place of the function by which readline gets a key. There it waits for the init's orders as well as
 * for a key, and runs a command as `bind -x` would run one: in the shell itself, between two keys.
 *
 * How the slot's init must start it: bash, interactive, on a pseudo-terminal, without any rcfile, and
 * with "enable -f PATH toolring_shell; toolring_shell SOCKET" as PROMPT_COMMAND, which is run once,
 * before the first prompt. (There is an rcfile of the system's that goes with any other.)
 *
 * While PARKED it shows no prompt, the terminal's modes are the commands', and readline's signal
 * handlers are out of the way, so that bash's own see an interrupt.
 *
 * Nothing of the guest's can look into this process, which keeps the number of the order it is at.
 */

#include <linux/prctl.h>

#include "slot/bash.h"
#include "slot/shell.h"

#define F_DUPFD_CLOEXEC_    1030
#define POLLIN_             1
#define O_RDONLY_           0
#define O_RDWR_             02
#define O_NONBLOCK_         04000
#define O_NOCTTY_           0400
#define O_CLOEXEC_          02000000
#define SOCKET_AT           500 /* out of the way of a guest's own numbers, and of bash's 255 */
#define RL_PREP_META        1
#define KERNEL_MSG_DONTWAIT 0x40

struct kernel_pollfd {
	int fd;
	int16_t events;
	int16_t revents;
};

/* readline, which a bash may be without. */
extern int (*rl_getc_function)(void *stream) WEAK;
extern int rl_getc(void *stream) WEAK;
extern int (*rl_signal_event_hook)(void) WEAK;
extern void (*rl_prep_term_function)(int meta) WEAK;
extern int rl_set_signals(void) WEAK;
extern int rl_clear_signals(void) WEAK;
extern void rl_check_signals(void) WEAK; /* from readline 8 on */
extern int _rl_caught_signal WEAK;
extern void _rl_signal_handler(int signal) WEAK;
extern void rl_reset_screen_size(void) WEAK;
extern int rl_forced_update_display(void) WEAK;
extern void (*rl_redisplay_function)(void) WEAK;
extern void rl_redisplay(void) WEAK;
extern void rl_prep_terminal(int meta) WEAK;
extern void rl_deprep_terminal(void) WEAK;
extern char *current_readline_line WEAK;
extern int rl_end WEAK;
extern char *current_prompt_string WEAK;
extern char *ps1_prompt WEAK;

extern void *save_parser_state(void *state) WEAK;
extern void restore_parser_state(void *state) WEAK;
extern int interrupt_state WEAK;
extern int terminating_signal WEAK;
extern void termsig_handler(int signal) WEAK;
extern int already_making_children WEAK; /* with job control */
extern int indirection_level WEAK;
extern int no_exit_on_failed_exec WEAK;
extern int last_made_pid WEAK; /* with job control */
extern void notify_and_cleanup(int unused) WEAK;
extern void begin_unwind_frame(const char *tag) WEAK;
extern void discard_unwind_frame(const char *tag) WEAK;
extern void add_unwind_protect(void (*cleanup)(char *), char *argument) WEAK;

static struct {
	int socket;
	struct shell_order order; /* that is not answered yet */
	bool is_attached;
	bool is_attaching; /* it is, once bash has made its prompt anew */
	bool is_running;   /* the order's command */
	int pid;
	void *parser; /* what bash was in the middle of reading */
	int null;     /* /dev/null */
	bool is_hushed;
	int hushed[2]; /* what stdout and stderr were; -1: closed */
	int terminal;  /* to read keys from: never blocks, as an interrupt drops what was there */
} shell;

/* ---- Orders and reports ------------------------------------------------------------------------ */

/* Without its socket this is no shell of ours any more; the init knows the signal. */
static _Noreturn void give_up(void)
{
	call3(__NR_kill, call3(__NR_getpid, 0, 0, 0), SHELL_GIVES_UP, 0);
	leave(1);
}

static uint64_t timeval_ns(const struct kernel_timeval *t)
{
	return (uint64_t)t->sec * 1000000000 + (uint64_t)t->usec * 1000;
}

/* What the shell, or its children, have cost so far. */
static void add_costs(struct shell_report *r, int who)
{
	struct {
		struct kernel_timeval user, system;
		int64_t maxrss, rest[13];
	} usage;

	memset(&usage, 0, sizeof(usage));
	call3(__NR_getrusage, who, (long)&usage, 0);
	r->user_ns += timeval_ns(&usage.user);
	r->system_ns += timeval_ns(&usage.system);
	r->memory_peak_kib = (uint32_t)usage.maxrss;
}

static void report(uint32_t kind, int status)
{
	struct shell_report r = {.magic = SHELL_MAGIC, .kind = kind, .status = status};

	if (kind == SHELL_DONE) {
		add_costs(&r, 0 /* RUSAGE_SELF */);
		add_costs(&r, -1 /* RUSAGE_CHILDREN */);
	}
	memcpy(r.nonce, shell.order.nonce, sizeof(r.nonce));
	memset(&shell.order, 0, sizeof(shell.order));
	for (;;) {
		long n = call3(__NR_write, shell.socket, (long)&r, sizeof(r));

		if (n == -EINTR)
			continue;
		if (n != sizeof(r))
			give_up();
		return;
	}
}

/* One message: a header, and text behind it. Returns how much text, -EINTR or -EAGAIN. */
static long receive(struct shell_order *header, char *text, size_t n_max, unsigned flags)
{
	struct kernel_iovec io[2] = {{header, sizeof(*header)}, {text, n_max}};
	struct kernel_msghdr message = {.iov = io, .n_iov = 2};
	long n = call3(__NR_recvmsg, shell.socket, (long)&message, flags);

	if (n == -EINTR || n == -EAGAIN)
		return n;
	/* The init has let go of us. */
	if (n < (long)sizeof(*header) || header->magic != SHELL_MAGIC)
		give_up();
	return n - (long)sizeof(*header);
}

/* One that is for an attached shell, and has no text. */
static void take_order(unsigned flags)
{
	struct shell_order order;
	long n = receive(&order, NULL, 0, flags);

	if (n < 0)
		return;
	if (order.kind != SHELL_PARK && order.kind != SHELL_ASK)
		give_up();
	shell.order = order;
}

/* The text of a command, of which first came with the order. */
static char *receive_text(const char *first, size_t n_first)
{
	size_t n = shell.order.n_bytes;
	char *text;

	if (n_first > n || n > UINT64_C(1) << 32)
		give_up();
	text = xmalloc(n + 1);
	memcpy(text, first, n_first);
	while (n_first < n) {
		struct shell_order more;
		long r = receive(&more, text + n_first, n - n_first, 0);

		if (r == -EINTR)
			continue;
		if (r <= 0 || more.kind != SHELL_TEXT)
			give_up();
		n_first += (size_t)r;
	}
	text[n] = 0;
	return text;
}

/* ---- PARKED ------------------------------------------------------------------------------------ */

/*
 * Readline calls these wherever it comes to a prompt, which while PARKED is not to be seen. A function
 * of another's to draw with makes it take any terminal for a dumb one: it has it only meanwhile, and not
 * when readline looks at the terminal, before the first prompt.
 */
static void prepare_terminal(int meta)
{
	if (shell.is_attached)
		rl_prep_terminal(meta);
}

static void show_nothing(void)
{
}

static void be_parked(void)
{
	rl_deprep_terminal();
	rl_clear_signals();
	rl_redisplay_function = show_nothing;
	shell.is_attached = false;
}

static void attach(void)
{
	shell.is_attaching = false;
	shell.is_attached = true;
	rl_redisplay_function = rl_redisplay;
	rl_set_signals();
	if (&rl_reset_screen_size)
		rl_reset_screen_size();
	report(SHELL_ATTACH, 0);
	/* What is shown from now on is the screen's, which the next order says is there. */
	while (!shell.order.kind)
		take_order(0);
	prepare_terminal(RL_PREP_META);
	rl_forced_update_display();
}

/* Commands may have changed what the prompt is made of: an empty line makes bash look. */
static bool can_renew_prompt(void)
{
	return &rl_end && rl_end == 0 && &current_prompt_string && &ps1_prompt &&
	       current_prompt_string == ps1_prompt;
}

/*
 * Jobs that have ended stay in bash's table until they are told of, which to an interactive shell's
 * terminal is before its next prompt. Here there is none, and nobody to tell.
 */
static void forget_jobs(void)
{
	static int last_pid;
	int was_interactive = interactive;
	long errors;

	if (!&notify_and_cleanup || !&last_made_pid || last_made_pid == last_pid)
		return;
	last_pid = last_made_pid;
	errors = call3(__NR_fcntl, 2, F_DUPFD_CLOEXEC_, SOCKET_AT);
	if (errors >= 0 && call3(__NR_dup3, shell.null, 2, 0) >= 0) {
		interactive = 1;
		notify_and_cleanup(-1);
		interactive = was_interactive;
		call3(__NR_dup3, errors, 2, 0);
	}
	if (errors >= 0)
		call3(__NR_close, errors, 0, 0);
}

/*
 * A command that bash gives up by a jump (its child was interrupted, a fork failed) is over only once
 * bash is back at its prompt: what it does on the way, PROMPT_COMMAND and words about jobs, is no
 * output of the command's.
 */
static void hush(char *unused)
{
	(void)unused;
	if (!shell.is_running || shell.is_hushed || shell.pid != call3(__NR_getpid, 0, 0, 0))
		return;
	shell.is_hushed = true;
	for (int i = 0; i < 2; i++) {
		shell.hushed[i] = (int)call3(__NR_fcntl, i + 1, F_DUPFD_CLOEXEC_, SOCKET_AT);
		call3(__NR_dup3, shell.null, i + 1, 0);
	}
}

static void unhush(void)
{
	for (int i = 0; shell.is_hushed && i < 2; i++) {
		if (shell.hushed[i] >= 0)
			call3(__NR_dup3, shell.hushed[i], i + 1, 0);
		call3(__NR_close, shell.hushed[i] >= 0 ? shell.hushed[i] : i + 1, 0, 0);
	}
	shell.is_hushed = false;
}

/* Bash notes a signal that ends it, and does so where it next looks, which before 5.2 is not here. */
static void heed_end(void)
{
	if (&terminating_signal && &termsig_handler && terminating_signal)
		termsig_handler(terminating_signal);
}

static void run(char *text)
{
	static const char frame[] = "toolring";
	bool can_hush = &begin_unwind_frame && &discard_unwind_frame && &add_unwind_protect;
	int flags = BASH_SEVAL_NONINT | BASH_SEVAL_NOHIST;
	int depth = &indirection_level ? indirection_level : 0;
	int may_fail = 0;
	int status;

	if (!bash_before_5_1())
		flags |= BASH_SEVAL_RESETLINE;
	/* An interrupt that came when nothing ran is not this command's. */
	if (&interrupt_state)
		interrupt_state = 0;
	/* A fork that failed leaves bash amid a pipeline, and it would wait for the last child it made. */
	if (&already_making_children)
		already_making_children = 0;
	/* `set -x` shows it. */
	if (&indirection_level)
		indirection_level = 0;
	/* As an interactive shell does. */
	if (&no_exit_on_failed_exec && !no_exit_on_failed_exec)
		no_exit_on_failed_exec = may_fail = 1;
	shell.parser = save_parser_state(shell.parser);
	if (can_hush) {
		begin_unwind_frame(frame);
		add_unwind_protect(hush, NULL);
	}
	shell.is_running = true;
	status = parse_and_execute(text, "-c", flags);
	heed_end();
	shell.is_running = false;
	if (can_hush)
		discard_unwind_frame(frame);
	/* $? is part of that, but the next command is to see this one's. */
	restore_parser_state(shell.parser);
	if (&indirection_level)
		indirection_level = depth;
	if (may_fail)
		no_exit_on_failed_exec = 0;
	last_command_exit_value = status;
	forget_jobs();
	report(SHELL_DONE, status & 0xff);
}

/* Until the terminal is to be used. true: a newline is to be read, for a new prompt. */
static bool serve_parked(void)
{
	/* Not before readline has looked at the terminal: see show_nothing(). */
	rl_redisplay_function = show_nothing;
	/* Readline has set its own before the first prompt, too. */
	rl_clear_signals();
	while (!shell.is_attached) {
		char first[SHELL_ORDER_BYTES];
		long n = receive(&shell.order, first, sizeof(first), 0);

		if (n < 0) {
			heed_end();
			continue;
		}
		switch (shell.order.kind) {
		case SHELL_COMMAND:
			run(receive_text(first, (size_t)n));
			break;
		case SHELL_PARK:
			report(SHELL_PARK, 0);
			break;
		case SHELL_ATTACH:
			shell.is_attaching = can_renew_prompt();
			if (shell.is_attaching)
				return true;
			attach();
			break;
		default:
			give_up();
		}
	}
	return false;
}

/* ---- ATTACHED ---------------------------------------------------------------------------------- */

/* As rl_getc() does when it was interrupted. */
static void handle_signals(void)
{
	if (&rl_check_signals)
		rl_check_signals();
	else if (&_rl_caught_signal && &_rl_signal_handler && _rl_caught_signal)
		_rl_signal_handler(_rl_caught_signal);
	if (rl_signal_event_hook)
		rl_signal_event_hook();
}

/* It is bash's own prompt that is shown, and not a `read -e` of some command. */
static bool is_at_prompt(void)
{
	return !parse_and_execute_level && (!&current_readline_line || !current_readline_line);
}

/* Answers the open order, now that no key is there. */
static void answer_order(void)
{
	uint32_t kind = shell.order.kind;

	if (kind == SHELL_PARK)
		be_parked();
	report(kind, 0);
}

/* For a key, and for an order if orders is the socket. for_long: until something comes. */
static long wait(struct kernel_pollfd fds[2], int orders, bool for_long)
{
	struct {
		int64_t sec, nsec;
	} now = {0, 0};

	fds[0] = (struct kernel_pollfd){.fd = shell.terminal, .events = POLLIN_};
	fds[1] = (struct kernel_pollfd){.fd = orders, .events = POLLIN_};
	return call6(__NR_ppoll, (long)fds, 2, for_long ? 0 : (long)&now, 0, 8, 0);
}

/* -EAGAIN: there was one, but an interrupt has dropped it. */
static long read_key(void *stream)
{
	unsigned char key;
	long n = call3(__NR_read, shell.terminal, (long)&key, 1);

	if (n == -EAGAIN || n == -EINTR)
		return -EAGAIN;
	return n == 1 ? key : rl_getc(stream);
}

/* Until there is a key; false: the terminal was taken away. */
static bool wait_for_key(void)
{
	while (shell.is_attached) {
		struct kernel_pollfd fds[2];
		bool is_asked = shell.order.kind != 0;
		/* Somebody's `read -e` comes before a PARK. */
		bool can_answer = shell.order.kind == SHELL_ASK || (is_asked && is_at_prompt());
		long n = wait(fds, is_asked ? -1 : shell.socket, !can_answer);

		/* A key that interrupts may have come together with an order. */
		handle_signals();
		if (n == -EINTR)
			continue;
		if (n < 0 || fds[0].revents)
			return true;
		if (can_answer)
			answer_order();
		else if (!is_asked)
			take_order(KERNEL_MSG_DONTWAIT);
	}
	return false;
}

static int shell_getc(void *stream)
{
	long key;

	/* A command reads keys by itself: `read -e`. */
	if (shell.is_running && parse_and_execute_level)
		return rl_getc(stream);
	/* Bash has given the command up, by a jump, and is back at its prompt. */
	if (shell.is_running) {
		shell.is_running = false;
		unhush();
		be_parked();
		report(SHELL_DONE, last_command_exit_value & 0xff);
	}
	if (shell.is_attaching)
		attach();
	for (;;) {
		if (!shell.is_attached && serve_parked())
			return '\n';
		if (!wait_for_key())
			continue;
		key = read_key(stream);
		if (key != -EAGAIN)
			return (int)key;
		handle_signals();
	}
}

/*
 * The shell leaves by itself, and is not replaced: bash's own exit calls this. Before the first answer
 * it means that this bash cannot be one.
 */
static __attribute__((destructor)) void say_exit(void)
{
	struct shell_report r = {.magic = SHELL_MAGIC, .kind = SHELL_EXITS};

	if (shell.pid && shell.pid == call3(__NR_getpid, 0, 0, 0))
		call3(__NR_write, shell.socket, (long)&r, sizeof(r));
}

/* ---- The start --------------------------------------------------------------------------------- */

/* Somebody in the room may have been quicker than we, and hold us already. */
static bool is_traced(void)
{
	static const char key[] = "TracerPid:\t";
	char text[4096];
	long fd = call6(__NR_openat, -100, (long)"/proc/self/status", O_RDONLY_, 0, 0, 0);
	long n = fd < 0 ? -1 : call3(__NR_read, fd, (long)text, sizeof(text) - 1);

	if (fd >= 0)
		call3(__NR_close, fd, 0, 0);
	for (long i = 0; i + (long)sizeof(key) <= n; i++) {
		size_t same = 0;

		while (same < sizeof(key) - 1 && text[(size_t)i + same] == key[same])
			same++;
		if (same == sizeof(key) - 1)
			return text[(size_t)i + same] != '0';
	}
	return true;
}

static int open_high(const char *path, unsigned flags)
{
	long fd = call6(__NR_openat, -100, (long)path, flags | O_CLOEXEC_, 0, 0, 0);
	long high = fd < 0 ? fd : call3(__NR_fcntl, fd, F_DUPFD_CLOEXEC_, SOCKET_AT);

	if (fd >= 0)
		call3(__NR_close, fd, 0, 0);
	return (int)high;
}

static bool has_readline(void)
{
	return &rl_getc_function && &rl_getc && &rl_set_signals && &rl_clear_signals &&
	       &rl_prep_term_function && &rl_prep_terminal && &rl_deprep_terminal &&
	       &rl_redisplay_function && &rl_redisplay && &rl_forced_update_display &&
	       &save_parser_state && &restore_parser_state;
}

static int shell_builtin(struct bash_word_list *list)
{
	long fd = list ? number_of(list->word->word) : -1;

	if (fd < 0)
		return 2;
	shell.socket = (int)fd;
	shell.pid = (int)call3(__NR_getpid, 0, 0, 0);
	if (!has_readline()) {
		say_exit();
		leave(1);
	}
	if (call3(__NR_prctl, PR_SET_DUMPABLE, 0, 0) < 0 || is_traced())
		leave(1);
	shell.socket = (int)call3(__NR_fcntl, fd, F_DUPFD_CLOEXEC_, SOCKET_AT);
	if (shell.socket < 0)
		shell.socket = (int)call3(__NR_fcntl, fd, F_DUPFD_CLOEXEC_, 10);
	if (shell.socket < 0)
		leave(1);
	/* What we were loaded from came next to it. */
	close_from((unsigned)fd, (unsigned)fd + 1);
	shell.null = open_high("/dev/null", O_RDWR_);
	shell.terminal = open_high("/proc/self/fd/0", O_RDWR_ | O_NONBLOCK_ | O_NOCTTY_);
	if (shell.terminal < 0)
		leave(1);
	rl_getc_function = shell_getc;
	rl_prep_term_function = prepare_terminal;
	unbind_variable("PROMPT_COMMAND");
	unbind_variable("HISTFILE");
	/* No trace of this builtin. */
	shell_builtins = static_shell_builtins;
	num_shell_builtins--;
	return 0;
}

extern struct bash_builtin toolring_shell_struct;

__attribute__((visibility("default"))) struct bash_builtin toolring_shell_struct = {
	"toolring_shell", shell_builtin, BASH_BUILTIN_ENABLED, NULL, "toolring_shell FD", NULL};
