"""A process that puts a filter on itself, tries calls, and says what came of them.

Runs in: a child of tests/unit/sandbox/test_filter_on_kernel.py.  Trusts: that test.
Flow: stdin: JSON {filter: hex, foreign: bool, calls: [[nr, args…], …]} → stdout: JSON [errno, …], 0 for success.
Source: seccomp(2), prctl(2).
"""

from __future__ import annotations

import ctypes
import json
import mmap
import sys
import threading

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def load(code: bytes) -> None:
    """Put the filter on; empty: none, to show what the calls do without it."""
    if not code:
        return
    program = Program(len(code) // 8, code)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)):
        arguments = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in call[1:]]
        if libc.prctl(call[0], *arguments):
            raise OSError(ctypes.get_errno(), "prctl")


def attempt(nr: int, *args: int | str) -> int:
    """The errno of one call, or 0.  A string argument is passed as a pointer to it."""
    words = [ctypes.c_char_p(word.encode()) if isinstance(word, str) else ctypes.c_ulong(word) for word in args]
    result = libc.syscall(ctypes.c_long(nr), *words)
    return ctypes.get_errno() if result == -1 else 0


def make_foreign_call(code: mmap.mmap) -> int:
    """Make a call of i386: mov eax, 20 (getpid); int 0x80; ret."""
    code[:8] = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"
    start = ctypes.c_char.from_buffer(code)  # keeps the code mapped
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(start))()


def main() -> None:
    task = json.load(sys.stdin)
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    load(bytes.fromhex(task["filter"]))
    if task["foreign"]:
        make_foreign_call(code)
    results = [attempt(*call) for call in task["calls"]]
    thread = threading.Thread(target=lambda: results.append(0))  # a thread's start is what every child needs
    thread.start()
    thread.join()
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
