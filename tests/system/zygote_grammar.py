# SPDX-License-Identifier: Apache-2.0
"""
Commands made at random, for zygote.py: each ends by itself, soon, and says the same whenever it runs.
So nothing that depends on time, on chance, or on which of two processes is first; and no $$, of which
an exit code could be made.
"""

NAMES = ["a", "b", "c", "arr", "PATH", "IFS", "HOME", "_", "OPTIND", "1", "2", "@", "*", "#", "?", "-",
         "0", "LINENO", "SHLVL", "FUNCNAME", "BASH_SUBSHELL", "PIPESTATUS[@]", "BASH_COMMAND",
         "arr[@]", "arr[1]", "#arr[@]", "!a", "REPLY", "OPTARG", "nosuch", "BASH_LINENO[@]", "!"]
WORDS = ["x", "yy", "'q q'", '"d d"', "-n", "-e", "--", "*", "a*", "[ab]", "{1..3}", "{a,b}c", "~",
         "$'t\\tt'", "''", '""', "1", "42", "-1", "/nosuch", "/tmp", ".", "é", "a=1", "%1", "\\*"]
FILES = ["f1", "f2", "/dev/null", "d/x", "/nosuch/x"]
VALUES = ["1", "xyz", "'a b'", "(1 2 3)", "$((1+2))", "$(echo s)", "'*'", "${a:-z}", "", "/bin"]
SIGNALS = ["EXIT", "ERR", "DEBUG", "RETURN", "TERM", "INT", "USR1", "CHLD", "0", "SIGHUP", "NOSUCH"]
OPTIONS = ["-e", "-u", "-x", "-v", "-f", "-o pipefail", "-o posix", "-n", "-C", "-a", "-m", "-b", "-h",
           "-k", "-T", "-E", "-B", "+B", "+e", "+x", "+u", "-o nosuch", "-- p q", "-"]
SHOPTS = ["extglob", "nullglob", "failglob", "lastpipe", "globstar", "dotglob", "expand_aliases",
          "inherit_errexit", "nocasematch", "xpg_echo", "sourcepath", "localvar_inherit", "nosuch"]
TESTS = ["-z $a", "-n $b", "a = b", "1 -lt 2", "-e f1", "-d /tmp", "x == x*", "abc =~ ^a(b)c$",
         "-v a", "-v arr[1]", "! -e f1", "1 -eq x", "( a", "-o errexit", "a < b", "-t 0"]
ARITHMETIC = ["1+2", "a++", "b=3*4", "2**10", "1/0", "x?y:z", "arr[0]+=2", "08", "16#ff", "1<<3",
              "a,b", "~5", "!1", "1 +", "++a", "nosuch", "a>b||c"]
BUILTINS = ["true", "false", ":", "echo", "printf '%s|'", "printf %d", "printf '%q\\n'", "test", "[",
            "type", "type -t", "command", "command -v", "builtin", "eval", "exec", "exit", "return",
            "break", "continue", "shift", "set", "unset", "unset -f", "export", "export -p", "declare",
            "declare -p", "declare -i", "declare -r", "declare -a", "declare -A", "declare -x", "local",
            "readonly", "read", "mapfile", "cd", "pwd", "pushd", "popd", "dirs", "alias", "unalias",
            "hash", "umask", "ulimit -n", "trap", "trap -p", "kill -0", "wait", "jobs", "fg", "bg",
            "disown", "getopts ab:", "let", "shopt", "shopt -s", "shopt -p", "enable", "enable -n", "help",
            "history", "fc", "logout", "suspend", "source", ".", "caller", "compgen -A builtin", "times",
            "compgen -v", "complete", "compopt", "bind", "printf -v a", "echo -e", "cat", "ls", "nosuchcmd",
            "/nosuch/cmd", "./f1", "sh -c 'exit 3'", "bash -c", "env -i", "dirname", "basename", "seq"]


class Maker:
    def __init__(self, choose):
        self.choose = choose
        self.depth = 0
        self.n_functions = 0

    def one(self, options):
        return self.choose.choice(options)

    def likely(self, chance):
        return self.choose.random() < chance

    def expansion(self):
        name = self.one(NAMES)
        form = self.one(["${%s}"] * 8 + ["${%s:-dflt}", "${%s:+alt}", "${%s:=set}", "${%s:?gone}", "${%s#?}",
                                         "${%s%%?}", "${%s/a/b}", "${%s^^}", "${%s:1:2}", "${%s@Q}",
                                         "${#%s}", "${%s@A}", "${%s,,}", "${%s//[a-c]/_}"])
        text = form % name
        return f'"{text}"' if self.likely(0.6) else text

    def word(self):
        roll = self.choose.random()
        if roll < 0.55:
            return self.one(WORDS)
        if roll < 0.85:
            return self.expansion()
        if roll < 0.92:
            return f"$(({self.one(ARITHMETIC)}))"
        if self.depth > 2:
            return "w"
        return self.one(["$(%s)", "`%s`", '"$(%s)"']) % self.inner(self.simple)

    def inner(self, make):
        self.depth += 1
        text = make()
        self.depth -= 1
        return text

    def redirection(self):
        return self.one([f">{self.one(FILES)}", f"<{self.one(FILES)}", "2>&1", ">&2", "2>/dev/null",
                         f">>{self.one(FILES)}", "<<<" + self.word(), "3>&1", "2>&-", "<&-", ">&-",
                         "0<&3", ">&9", f"&>{self.one(FILES)}", "<<E\nhere $a\nE\n", "{fd}>f3"])

    def simple(self):
        parts = []
        if self.likely(0.15):
            parts.append(f"{self.one(['a', 'b', 'arr', 'IFS', 'x'])}={self.one(VALUES)}")
            if self.likely(0.4):
                return parts[0]
        parts.append(self.one(BUILTINS) if self.likely(0.6) else "echo")
        parts += [self.word() for _ in range(self.choose.randrange(4))]
        if self.likely(0.2):
            parts.append(self.redirection())
        return " ".join(parts)

    def special(self):
        return self.one([
            lambda: f"set {self.one(OPTIONS)}",
            lambda: f"shopt -s {self.one(SHOPTS)}",
            lambda: f"trap 'echo T:{self.one(SIGNALS)} $? $LINENO' {self.one(SIGNALS)}",
            lambda: f"[[ {self.one(TESTS)} ]]; echo $?",
            lambda: f"[ {self.one(TESTS)} ]; echo $?",
            lambda: f"(( {self.one(ARITHMETIC)} )); echo $? $a $b",
            lambda: f"kill -{self.one(['TERM', 'USR1', 'INT', 'KILL', 'CHLD', '0'])} $$",
            lambda: f"exit {self.one(['', '0', '3', '256', '-1', 'x', '$?'])}",
            lambda: "echo $? $_ $- $# $0 ${FUNCNAME[0]} $LINENO",
            lambda: f"declare -p {self.one(['a', 'b', 'arr', 'IFS', 'PIPESTATUS', 'nosuch', 'SHLVL'])}",
            lambda: "wait; echo $?",
            lambda: "true & wait $!; echo $? $!",
            lambda: f"exec {self.redirection()}",
        ])()

    def function(self, body):
        """With a name of its own: one that calls itself ends where the stack does."""
        self.n_functions += 1
        name = f"f{self.n_functions}"
        return f"{name}() {{ {body()}; }}; {name} {self.word()} {self.word()}; echo $?"

    def statement(self):
        if self.depth > 3:
            return self.simple()
        roll = self.choose.random()
        if roll < 0.45:
            return self.simple()
        if roll < 0.65:
            return self.special()
        body = lambda: self.inner(self.list)  # noqa: E731
        return self.one([
            lambda: f"{{ {body()}; }}",
            lambda: f"( {body()} )",
            lambda: f"if {self.inner(self.simple)}; then {body()}; else {body()}; fi",
            lambda: f"for v in {self.word()} {self.word()}; do {body()}; done",
            lambda: f"case {self.word()} in {self.one(['a*', 'x', '*'])}) {body()};; *) {body()};; esac",
            lambda: f"cat <(echo {self.one(WORDS)})",
            lambda: self.function(body),
            lambda: f"! {self.inner(self.simple)}",
            lambda: f"time -p {self.inner(self.simple)} 2>/dev/null",
            lambda: f"{self.inner(self.simple)} | cat; echo ${{PIPESTATUS[@]}}",
            lambda: f"echo in | {self.one(['read a', 'cat', 'while read v; do echo $v; done'])}; echo $a",
            lambda: f"for ((i=0; i<2; i++)); do {body()}; done",
            lambda: f"i=0; while (( i++ < 2 )); do {body()}; done",
            lambda: f"select v in p q; do {body()}; break; done <<< 1",
        ])()

    def list(self):
        text = self.statement()
        for _ in range(self.choose.randrange(3)):
            text += self.one(["; ", "; ", "\n", " && ", " || "]) + self.statement()
        return text


def command(choose):
    return Maker(choose).list()
