"""Every way in which a kernel gives less than a policy asks: which layer, how much is left, and the reason in words.

Runs in: children say it, the parent judges and shows it.  Trusts: nothing, it is data.
Flow: sandbox/enforce meets an errno → `loss(name)` → LayerStatus → PChildProcess.Ready → judged, shown, recorded.
Source: core-feasibility facts section 1, "Without userns"; user_namespaces(7), seccomp_unotify(2).
"""

from __future__ import annotations

import os

from foxden.model.enforcement import LayerStatus, Status

# Name → what is left of the layer, and why.  {error}: what the kernel said.
REASONS: dict[str, tuple[Status, str]] = {
    # namespaces: what hides other processes, and gives the others below something to stand on
    "no-namespaces": (Status.NONE, "the kernel gave no user namespace"),
    "namespaces-refused": (
        Status.NONE,
        "the kernel gave no user namespace ({error}): other processes can be seen; the filter and Landlock alone keep "
        "this one from signalling and tracing them, and programs from Linux 6.12 on only",
    ),
    "namespaces-useless": (
        Status.PARTIAL,
        "the user namespace gives no right in it ({error}): other processes are hidden, ids stay the caller's",
    ),
    # root: what hides the host's files
    "no-mount-namespace": (
        Status.NONE,
        "an empty root needs a mount namespace: the host's files are kept by Landlock and the filter alone, and that "
        "they exist can be seen",
    ),
    "mounts-refused": (
        Status.NONE,
        "mounts are refused ({error}): the host's files are kept by Landlock and the filter alone, and that they exist "
        "can be seen",
    ),
    # network
    "network-by-filter": (Status.PARTIAL, "no network namespace: the filter alone refuses sockets"),
    "network-by-namespace": (Status.PARTIAL, "no filter refuses sockets: the network namespace alone is empty"),
    "no-network": (Status.NONE, "no network namespace, and no filter refuses sockets"),
    # seccomp
    "listener-taken": (
        Status.PARTIAL,
        "another listener serves this process: no file is brokered, no violation recorded",
    ),
    "listener-taken-told": (
        Status.PARTIAL,
        "another listener serves this process: no file is brokered, violations are recorded by its own word",
    ),
    "no-filters": (Status.NONE, "this kernel takes no seccomp filters"),
}


def loss(name: str, error: OSError | int | None = None) -> LayerStatus:
    """The status of a layer that was lost in this way."""
    status, text = REASONS[name]
    if error is None:
        return LayerStatus(status, text)
    said = os.strerror(error) if isinstance(error, int) else str(error.strerror or error)
    return LayerStatus(status, text.format(error=said)[:512])
