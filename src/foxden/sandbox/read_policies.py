"""Policies as they are when their texts have been read, checked and merged, compiled: for those that many dens need.

Runs in: the parent, tools, tests.  Trusts: the installation.
Flow: utility.toml → policy.load → policies/utility.read.bin, committed → load_read → Policy, as policy.load gives it.
Source: to read a text of TOML, and each call in it, takes 10 ms before a den's first call of a function;
tests/unit/sandbox/test_program_base.py holds the files to the texts.
"""

from __future__ import annotations

import os

import msgspec

from foxden.sandbox.policy import Policy, load
from foxden.sandbox.policy_files import read_policy

READ = ("utility",)
_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "policies")


def path_of(name: str) -> str:
    return os.path.join(_FOLDER, f"{name}.read.bin")


def load_read(name: str) -> Policy:
    """`name`: one of READ."""
    with open(path_of(name), "rb") as file:
        return msgspec.msgpack.decode(file.read(), type=Policy)


def compile_read(name: str) -> bytes:
    return msgspec.msgpack.encode(load(name, read_policy))
