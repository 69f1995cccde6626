"""Why a program could not be executed, and what to do about it.

Runs in: command, after the program's init said so.  Trusts: the host's files, as far as to name them.
Flow: program, errno of the last place that was tried → what to say, and the hint.
Source: execve(2): what its errors mean for scripts, directories and interpreters.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat

from foxden.launch.program import NO_INTERPRETER


def why_not_executed(program: str, number: int, cwd: str) -> tuple[str, str]:
    """Returns (what is wrong, hint)."""
    if "/" not in program:
        return _by_name(program, number)
    path = os.path.normpath(os.path.join(cwd, program))
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f"{program}: {error.strerror}", "the name is taken from the current directory, or from --cwd"
    if stat.S_ISDIR(mode):
        return f"{program}: it is a directory", "name the program in it"
    if not os.access(path, os.X_OK):
        return f"{program}: it is not executable", f"chmod +x {program}, or name its interpreter first"
    if number == NO_INTERPRETER:
        return _without_interpreter(program, path)
    if number == errno.ENOEXEC:
        return f"{program}: it is no program of this machine: {os.strerror(number)}", ""
    return f"{program}: {os.strerror(number)}", f"the folder that it lies in is not there for it: {_read(path)}"


def _by_name(program: str, number: int) -> tuple[str, str]:
    found = shutil.which(program)
    if found is None:
        if number == errno.EACCES:
            return f"{program}: {os.strerror(number)}", "a file of that name in the folders of PATH is not executable"
        return f"{program}: no folder of PATH has a program of that name", ""
    return f"{program}: it is in {os.path.dirname(found)}, which the program cannot see", _read(found)


def _without_interpreter(program: str, path: str) -> tuple[str, str]:
    try:
        with open(path, "rb") as file:
            first = file.readline(256)
    except OSError:
        first = b""
    words = first[2:].split() if first.startswith(b"#!") else []
    if not words:
        return f"{program}: its loader, or what a link of it leads to, is not there", _read(path)
    interpreter = os.fsdecode(words[0])
    hint = _read(interpreter) if os.path.exists(interpreter) else "its first line names it"
    return f"{program}: its interpreter {interpreter} is not there", hint


def _read(path: str) -> str:
    """What would show a program, with what lies beside it."""
    real = os.path.realpath(path)
    folders = dict.fromkeys(os.path.dirname(place) for place in (os.path.abspath(path), real))
    return " ".join(f"--read {folder}" for folder in folders)
