"""What the kernel really gave, layer by layer.

Runs in: the child makes it, the parent checks and shows it; pure.  Trusts: a child's own report is shown as such.
Flow: sandbox/enforce → Enforcement → PChildProcess.Ready → parent refuses or accepts → ps, support, records.
Source: shared vocabulary FULL / PARTIAL / NONE, after rust-landlock's RestrictionStatus.
"""

import enum
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Self

import msgspec


class Status(enum.Enum):
    FULL = "FULL"  # the kernel gave everything the policy asks of this layer
    PARTIAL = "PARTIAL"  # a part of it; the reason says what is missing
    NONE = "NONE"  # nothing of it


class Layer(enum.Enum):
    """The layers, in the order in which a child puts them on."""

    NAMESPACES = "namespaces"
    LIMITS = "limits"
    ROOT = "root"
    CAPABILITIES = "capabilities"
    NETWORK = "network"
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"


# What a child lacks where the kernel gives no namespaces: itself, and what is made in one.
GONE_WITH_NAMESPACES = (Layer.NAMESPACES, Layer.ROOT, Layer.NETWORK, Layer.LIMITS)


def accepting(layers: Iterable[Layer]) -> str:
    """The option that accepts the loss of these, and what it is in Python."""
    names = list(dict.fromkeys(layer.value for layer in layers))
    return f"--allow-partial {','.join(names)}, in Python allow_partial={names}"


class LayerStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    status: Status
    reason: Annotated[str, msgspec.Meta(max_length=512)] = ""


class Enforcement(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One status a layer; a layer that the policy does not ask for is None (absent in JSON)."""

    namespaces: LayerStatus | None = None
    limits: LayerStatus | None = None
    root: LayerStatus | None = None
    capabilities: LayerStatus | None = None
    network: LayerStatus | None = None
    landlock: LayerStatus | None = None
    seccomp: LayerStatus | None = None

    def items(self) -> tuple[tuple[Layer, LayerStatus], ...]:
        """The layers that were asked for, with what came of them."""
        pairs = ((layer, getattr(self, layer.value)) for layer in Layer)
        return tuple((layer, status) for layer, status in pairs if status is not None)

    def replaced(self, known: Mapping[Layer, LayerStatus]) -> Self:
        """The same, with what is known better of layers that were asked for."""
        better = {layer.value: status for layer, status in known.items() if getattr(self, layer.value) is not None}
        return msgspec.structs.replace(self, **better)

    def missing(self) -> tuple[Layer, ...]:
        """Layers that are not FULL."""
        return tuple(layer for layer, status in self.items() if status.status is not Status.FULL)

    def summary(self) -> str:
        """`FULL`, or the layers that are not, as `PARTIAL(landlock,network)`; `NONE` when nothing was asked."""
        if not self.items():
            return "NONE"
        missing = self.missing()
        return "FULL" if not missing else f"PARTIAL({','.join(layer.value for layer in missing)})"


def missing_layers(enforcement: Enforcement, accepted: Collection[Layer]) -> dict[Layer, str]:
    """What a child lacks that nobody accepted: layer → reason.  Empty: it may work."""
    return {
        layer: status.reason
        for layer, status in enforcement.items()
        if status.status is not Status.FULL and layer not in accepted
    }
