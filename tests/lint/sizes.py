# SPDX-License-Identifier: Apache-2.0
"""
Shows that files and functions stay small enough to be read at one go: 600 lines a file, 70 a
function (in C from its opening to its closing brace, both in column one as the format puts them).
"""

import ast

import tree

FILE_MAX = 600
FUNCTION_MAX = 70


def long_functions(path, lines):
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line.startswith("}") and start:
            if number - start + 1 > FUNCTION_MAX:
                yield f"{path}:{start}: a function of {number - start + 1} lines"
            start = None


def long_python_functions(path, text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            n_lines = node.end_lineno - node.lineno + 1
            if n_lines > FUNCTION_MAX:
                yield f"{path}:{node.lineno}: a function of {n_lines} lines"


def main():
    faults = []
    for path in tree.files(ends=(".c", ".h", ".cc", ".hpp", ".py", ".sh")):
        text = tree.read(path)
        lines = text.splitlines()
        if len(lines) > FILE_MAX:
            faults.append(f"{path}: {len(lines)} lines")
        if path.endswith((".c", ".h", ".cc", ".hpp")):
            faults += long_functions(path, lines)
        if path.endswith(".py"):
            faults += long_python_functions(path, text)
    tree.finish(faults, f"files up to {FILE_MAX} lines, functions up to {FUNCTION_MAX}")


main()
