# SPDX-License-Identifier: Apache-2.0
"""
The types of calls and results are as promised. (tools/test checks the package itself.)
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import toolring
from private import cannot

HERE = os.path.dirname(os.path.abspath(__file__))


def mypy(cache, *arguments: str) -> None:
    if importlib.util.find_spec("mypy") is None:
        cannot("there is no mypy here")
    env = dict(os.environ)
    home = os.path.dirname(os.path.dirname(toolring.__file__))
    if "site-packages" not in home:  # what is installed it finds by itself, and wants it no other way
        env["MYPYPATH"] = home
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), *arguments],
        cwd=HERE, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("mypy")


def test_types_of_calls(cache):
    mypy(cache, os.path.join(HERE, "typing_clients.py"))


def test_package_says_that_it_is_typed():
    assert os.path.exists(os.path.join(os.path.dirname(toolring.__file__), "py.typed"))
