"""The modules that glibc looks names up with, loaded before any fork: the socket process then needs no library file.

Runs in: the network family's fork server.  Trusts: /etc/nsswitch.conf and the system's libraries.
Flow: `hosts:` line → libnss_<service>.so.2 of each → stays loaded; glibc finds it by name when it is first asked.
Source: nsswitch.conf(5); dlopen(3): a library that is loaded is not opened again.
"""

from __future__ import annotations

import contextlib
import ctypes
import re

_CONFIGURATION = "/etc/nsswitch.conf"
_DEFAULT = ("files", "dns")  # what glibc does without a configuration
_ENDS_THREADS = "libgcc_s.so.1"  # pthread_exit loads it, and ends the process where it cannot


def services(configuration: str) -> tuple[str, ...]:
    """Names on the `hosts:` line, without the [reactions] between them."""
    found = re.search(r"^[ \t]*hosts:(.*)$", configuration, re.MULTILINE)
    if found is None:
        return _DEFAULT
    words = re.sub(r"\[[^\]]*\]|#.*", " ", found[1]).split()
    return tuple(word for word in words if re.fullmatch(r"[a-z0-9_]+", word)) or _DEFAULT


def preload() -> tuple[str, ...]:
    """Load them for good; returns those that there are.  A service without a module is part of glibc, or absent."""
    try:
        with open(_CONFIGURATION, encoding="ascii", errors="replace") as file:
            configuration = file.read()
    except OSError:
        configuration = ""
    loaded = []
    for library in (_ENDS_THREADS, *(f"libnss_{name}.so.2" for name in services(configuration))):
        with contextlib.suppress(OSError):
            ctypes.CDLL(library)
            loaded.append(library)
    return tuple(loaded)
