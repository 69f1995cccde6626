"""What is said of a sandbox is no more than what was reported."""

from __future__ import annotations

import msgspec
import pytest

from foxden.model.enforcement import Enforcement, Layer, LayerStatus, Status

FULL = LayerStatus(Status.FULL)
PART = LayerStatus(Status.PARTIAL, "why")


@pytest.mark.parametrize(
    ("enforcement", "summary", "missing"),
    [
        (Enforcement(), "NONE", ()),
        (Enforcement(seccomp=FULL), "FULL", ()),
        (Enforcement(seccomp=FULL, landlock=PART), "PARTIAL(landlock)", (Layer.LANDLOCK,)),
        (Enforcement(root=LayerStatus(Status.NONE)), "PARTIAL(root)", (Layer.ROOT,)),
    ],
)
def test_summary_and_missing_layers(enforcement: Enforcement, summary: str, missing: tuple[Layer, ...]) -> None:
    assert (enforcement.summary(), enforcement.missing()) == (summary, missing)


def test_every_layer_has_its_field() -> None:
    assert set(Enforcement.__struct_fields__) == {layer.value for layer in Layer}


def test_layer_that_was_not_asked_for_is_absent_in_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(Enforcement(seccomp=FULL))) == {
        "seccomp": {"status": "FULL", "reason": ""}
    }
