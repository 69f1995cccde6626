"""The filter that lets a process signal itself alone, run without a kernel."""

from __future__ import annotations

import pytest
from tests.support import bpf_interpreter

from foxden.sandbox import linux
from foxden.sandbox.constants import AUDIT_ARCH
from foxden.sandbox.signals import own_only
from foxden.sandbox.syscall_numbers import NUMBERS

ALLOW, EPERM = 0x7FFF_0000, 0x0005_0001
OWN, OTHER = 4321, 1234
# Call → verdict for the own number, and for another's, as first argument.
CALLS = {
    "kill": (ALLOW, EPERM),
    "tgkill": (ALLOW, EPERM),
    "rt_sigqueueinfo": (ALLOW, EPERM),
    "rt_tgsigqueueinfo": (ALLOW, EPERM),
    "tkill": (EPERM, EPERM),  # names a thread
    "pidfd_send_signal": (EPERM, EPERM),  # names a descriptor
    "read": (ALLOW, ALLOW),
    "getpid": (ALLOW, ALLOW),
    "exit_group": (ALLOW, ALLOW),
}


@pytest.mark.parametrize("name", CALLS)
def test_only_signals_to_oneself_pass(name: str) -> None:
    code = bpf_interpreter.decode(own_only(OWN))
    number, arch = NUMBERS[linux.ARCH][name], AUDIT_ARCH[linux.ARCH]
    verdicts = [bpf_interpreter.run(code, number, (pid, 0, 0, 0, 0, 0), arch) for pid in (OWN, OTHER)]
    assert tuple(verdicts) == CALLS[name]


def test_groups_and_everyone_are_others() -> None:
    code = bpf_interpreter.decode(own_only(OWN))
    for pid in (0, -1, -OWN):
        arguments = (pid & 0xFFFF_FFFF_FFFF_FFFF, 9, 0, 0, 0, 0)
        assert bpf_interpreter.run(code, NUMBERS[linux.ARCH]["kill"], arguments, AUDIT_ARCH[linux.ARCH]) == EPERM
