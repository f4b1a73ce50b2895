# SPDX-License-Identifier: Apache-2.0
"""
python_api.py [--update]: shows that bindings/python/API.md is what the docstrings and signatures of
the package say, and that all it shows has a docstring; --update writes it anew. The sources are
parsed, not imported, so that no build is needed.

Shown is what a module lists in __all__, else what it defines under a public name. A class shows the
members of its bases that are not shown themselves, with their type variables filled in.
"""

import ast
import os
import re
import sys

import tree

PACKAGE = "bindings/python/toolring"
API = "bindings/python/API.md"
HEAD = """# The package toolring, name by name

Made from the docstrings by `tests/lint/python_api.py --update`; `README.md` beside it is where to
begin.
"""


class Module:
    """One source file of the package: what it defines and from where it imports the rest."""

    loaded = {}

    def __init__(self, name):
        self.name = name
        self.text = tree.read(path_of(name))
        self.lines = self.text.splitlines()
        self.node = ast.parse(self.text)
        self.defined = {}
        self.imported = {}
        self.all = None
        for node in self.node.body:
            self.take(node)

    @classmethod
    def get(cls, name):
        if name not in cls.loaded:
            cls.loaded[name] = cls(name)
        return cls.loaded[name]

    def take(self, node):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            self.defined[node.name] = node
        elif isinstance(node, ast.ImportFrom) and node.level:
            package = self.name if os.path.isdir(folder_of(self.name)) else \
                self.name.rpartition(".")[0]
            base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            for alias in node.names:
                where = f"{base}.{node.module}" if node.module else base
                self.imported[alias.asname or alias.name] = (where, alias.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    self.assign(target.id, node)
        elif isinstance(node, ast.If):  # sys.version_info, TYPE_CHECKING
            for inner in node.body + node.orelse:
                self.take(inner)

    def assign(self, name, node):
        if name == "__all__":
            self.all = list(ast.literal_eval(node.value))
        else:
            self.defined[name] = node

    def find(self, name):
        """(module, node) of a name, wherever in the package it is defined, or None."""
        if name in self.defined:
            return self, self.defined[name]
        if name in self.imported:
            module, there = self.imported[name]
            if os.path.exists(os.path.join(tree.ROOT, path_of(module))):
                return Module.get(module).find(there)
        return None

    def constants(self):
        """Private names with a plain value, such as a default that is also used elsewhere."""
        return {name: node.value for name, node in self.defined.items()
                if name.startswith("_") and isinstance(node, (ast.Assign, ast.AnnAssign)) and
                isinstance(node.value, (ast.Constant, ast.Tuple))}

    def names(self):
        if self.all is not None:
            return self.all
        return [n for n, node in self.defined.items()
                if not n.startswith(("_", "pytest_")) and
                not isinstance(node, (ast.Assign, ast.AnnAssign))]


def folder_of(name):
    return os.path.join(tree.ROOT, os.path.dirname(PACKAGE), *name.split("."))


def path_of(name):
    path = os.path.join(os.path.dirname(PACKAGE), *name.split("."))
    return os.path.join(path, "__init__.py") if os.path.isdir(folder_of(name)) else path + ".py"


def modules():
    """The package and what is public in it, one level deep."""
    found = ["toolring"]
    for entry in sorted(os.listdir(folder_of("toolring"))):
        stem = entry.removesuffix(".py")
        is_package = os.path.exists(os.path.join(folder_of("toolring"), entry, "__init__.py"))
        if not stem.startswith("_") and (is_package or entry != stem):
            found.append("toolring." + stem)
    return found


# ---- rendering -----------------------------------------------------------------------------------

class Fill(ast.NodeTransformer):
    """
    Puts values in the place of names: the types that a class gives to its base in that of the
    base's type variables, and what a private constant is.
    """

    def __init__(self, types):
        self.types = types

    def visit_Name(self, node):  # noqa: N802
        return self.types.get(node.id, node)


def parameters(arguments):
    """Of a function, each as one writes it."""
    def one(arg, default, stars=""):
        hint = f": {ast.unparse(arg.annotation)}" if arg.annotation else ""
        equals = " = " if hint else "="
        return stars + arg.arg + hint + (equals + ast.unparse(default) if default else "")

    plain = arguments.posonlyargs + arguments.args
    defaults = [None] * (len(plain) - len(arguments.defaults)) + arguments.defaults
    shown = [one(*pair) for pair in zip(plain, defaults)]
    if arguments.posonlyargs:
        shown.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg:
        shown.append(one(arguments.vararg, None, "*"))
    elif arguments.kwonlyargs:
        shown.append("*")
    shown += [one(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults)]
    if arguments.kwarg:
        shown.append(one(arguments.kwarg, None, "**"))
    return shown[1:] if shown[:1] in (["self"], ["cls"]) else shown


def signature(node, types, prefix=""):
    """What returns a coroutine is shown as what one awaits."""
    filled = Fill(types).visit(ast.parse(ast.unparse(node)).body[0])
    returns = filled.returns
    waits = isinstance(node, ast.AsyncFunctionDef)
    if isinstance(returns, ast.Subscript) and ast.unparse(returns.value) == "Coroutine":
        waits, returns = True, returns.slice.elts[2]
    hint = f" -> {ast.unparse(returns)}" if returns else ""
    shown = ", ".join(parameters(filled.args))
    return f"{'await ' if waits else ''}{prefix}{node.name}({shown}){hint}"


def docstring(node, arguments=None):
    """As Markdown: calls in code, what is said of each parameter as a list."""
    arguments = arguments or getattr(node, "args", None)
    names = {a.arg for a in ast.walk(arguments) if isinstance(a, ast.arg)} if arguments else set()
    lines = (ast.get_docstring(node) or "").split("\n")
    out = []
    for line in lines:
        said = re.match(r"((?:\w+, )*\w+): ", line)
        if said and set(said[1].split(", ")) <= names:
            if out and out[-1] and not out[-1].startswith(("- ", "  ")):
                out.append("")
            line = f"- `{said[1]}`{line[said.end(1):]}"
        elif line.startswith("    ") and any(above.startswith("- ") for above in out[-4:]):
            line = "  " + line.strip()
        elif not line.startswith("    "):
            line = re.sub(r"(?<![`\w.])(\w+(?:\.\w+)*\(\))(?!`)", r"`\1`", line)
        out.append(line)
    return "\n".join(out)


def beside(module, body, i):
    """What is said of body[i], which names a value: a string below it or a comment behind."""
    below = body[i + 1] if i + 1 < len(body) else None
    if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and \
            isinstance(below.value.value, str):
        return " ".join(below.value.value.split())
    comment = re.search(r"  # (.*)$", module.lines[body[i].end_lineno - 1])
    return comment[1] if comment else ""


class Writer:
    def __init__(self, faults):
        self.faults = faults
        self.out = []
        self.rows = []  # of the class that is being written
        self.fields_seen = set()
        self.class_name = ""
        self.generic = {}  # the class that has shown a base with type variables

    def say(self, *lines):
        self.out += [*lines, ""]

    def function(self, module, node, types, level, prefix=""):
        shown = signature(node, module.constants() | types, prefix)
        self.say(f"{'#' * level} `{shown}`")
        self.say(docstring(node))

    def fields(self, module, node):
        """Members of a dataclass, a named tuple, or such, with what is said of them."""
        for i, field in enumerate(node.body):
            if not isinstance(field, ast.AnnAssign) or field.target.id.startswith("_"):
                continue
            if "ClassVar" in ast.unparse(field.annotation):
                continue
            if field.target.id in self.fields_seen:
                continue  # what a base has, too
            self.fields_seen.add(field.target.id)
            named = f"{field.target.id}: {ast.unparse(field.annotation)}".replace("|", "\\|")
            self.rows.append(f"| `{named}` | {beside(module, node.body, i)} |")

    def members(self, module, node, types, shown, seen, prefix=""):
        """Of a class and of those bases that are not shown themselves."""
        self.fields(module, node)
        for member in node.body:
            if not isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            decorators = [ast.unparse(d) for d in member.decorator_list]
            if member.name.startswith("_") or member.name in seen or \
                    any(d.endswith((".setter", "overload")) for d in decorators):
                continue
            seen.add(member.name)
            if any("property" in d for d in decorators):
                self.property(module, member, types, shown, prefix)
            else:
                self.function(module, member, types, 4, prefix)
        for base in node.bases:
            self.base(module, base, types, shown, seen, prefix)

    def property(self, module, member, types, shown, prefix):
        """One whose class is not shown itself has that class's members, here."""
        returns = Fill(types).visit(ast.parse(ast.unparse(member)).body[0]).returns
        name = ast.unparse(returns.value if isinstance(returns, ast.Subscript) else returns)
        found = module.find(name)
        inner = found and name not in shown and isinstance(found[1], ast.ClassDef)
        hint = "" if inner else f": {ast.unparse(returns)}"
        self.say(f"#### `{prefix}{member.name}{hint}`")
        self.say(docstring(found[1]) if inner else docstring(member))
        if inner:
            self.base(module, returns, types, shown, set(), f"{prefix}{member.name}.")

    def base(self, module, base, types, shown, seen, prefix):
        name = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
        found = module.find(name)
        if not found or name in shown or not isinstance(found[1], ast.ClassDef):
            return
        there, node = found
        variables = [b for b in node.bases if isinstance(b, ast.Subscript)]
        if isinstance(base, ast.Subscript) and variables:
            if self.generic.setdefault((name, prefix), self.class_name) != self.class_name:
                self.say(f"And all that `{self.generic[name, prefix]}` has, without `await`.")
                return
            given = base.slice.elts if isinstance(base.slice, ast.Tuple) else [base.slice]
            wanted = variables[0].slice
            wanted = wanted.elts if isinstance(wanted, ast.Tuple) else [wanted]
            types = {w.id: Fill(types).visit(g) for w, g in zip(wanted, given)
                     if isinstance(w, ast.Name)}
        self.members(there, node, types, shown, seen, prefix)

    def class_(self, where, module, node, shown):
        self.class_name = f"{where}.{node.name}"
        bases = [ast.unparse(b) for b in node.bases if ast.unparse(b) in shown]
        init = next((n for n in node.body if getattr(n, "name", "") == "__init__"), None)
        title = f"class {node.name}" + (f"({', '.join(bases)})" if bases else "")
        self.say(f"### `{title}`")
        said = docstring(node, init and init.args)
        if said != docstring(node):  # of its parameters, too: it is to be called
            self.say(f"#### `{node.name}({', '.join(parameters(init.args))})`")
        self.say(said)
        self.rows, self.fields_seen, at = [], set(), len(self.out)
        if init and ast.get_docstring(init):  # one that is not to be called has none
            self.function(module, init, {}, 4)
        self.members(module, node, {}, shown, {"__init__"})
        if self.rows:
            self.out.insert(at, "\n".join(["| member | |", "|---|---|", *self.rows, ""]))

    def module(self, name):
        module = Module.get(name)
        shown = set(module.names()) | set(Module.get("toolring").names())
        self.say(f"## {name}", "", docstring(module.node) if name != "toolring" else "")
        for wanted in module.names():
            found = module.find(wanted)
            if not found:
                continue  # a module, or a thing of the extension
            there, node = found
            if isinstance(node, ast.ClassDef):
                self.class_(name, there, node, shown)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self.function(there, node, {}, 3)
            elif not wanted.startswith("__"):
                body = there.node.body
                self.say(f"### `{' '.join(ast.unparse(node).split())}`")
                self.say(beside(there, body, body.index(node)))
                continue
            if not ast.get_docstring(node):
                self.faults.append(f"{name}.{wanted}: no docstring")


def main():
    faults = []
    writer = Writer(faults)
    for name in modules():
        writer.module(name)
    text = HEAD + "\n" + re.sub(r"\n{3,}", "\n\n", "\n".join(writer.out)).rstrip() + "\n"
    path = os.path.join(tree.ROOT, API)
    if sys.argv[1:] == ["--update"]:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    elif not os.path.exists(path) or tree.read(API) != text:
        faults.append(f"{API}: differs from the docstrings; to repair: "
                      "python3 tests/lint/python_api.py --update")
    tree.finish(faults, f"{API}, made from docstrings")


main()
