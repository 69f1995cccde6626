"""One table of acts, three models: each answers as the documents say."""

from __future__ import annotations

import pytest
from tests.platforms.models import Case, decider, read_cases

from foxden.sandbox.acts import EXAMPLE_PLACES, STANDARD_ACTS, Outcome, act_on

CASES = list(read_cases())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_model_answers_as_the_documents_say(case: Case) -> None:
    decision = decider(case.platform, case.process_type, case.remote_type, case.level)(case.act())
    assert (decision.outcome.value, case.source) == (case.expected, case.source), decision.rule
    assert decision.rule


def test_table_is_large_enough_to_tell_levels_apart() -> None:
    assert len({(case.operation, case.path, case.process_type, case.remote_type) for case in CASES}) >= 40
    for platform in ("linux", "macos", "windows"):
        said = {case.expected for case in CASES if case.platform == platform}
        assert said >= {"allowed", "refused"}


def test_every_refusal_has_its_control_on_the_same_platform() -> None:
    """Some level or type of the platform is allowed the same operation: the model can say yes."""
    allowed = {(case.platform, case.operation) for case in CASES if case.expected == "allowed"}
    refused = {(case.platform, case.operation) for case in CASES if case.expected == "refused"}
    assert refused - allowed == set()


@pytest.mark.parametrize("platform", ["linux", "macos", "windows"])
@pytest.mark.parametrize("remote_type", ["web", "file"])
def test_higher_level_never_allows_what_a_lower_one_refuses(platform: str, remote_type: str) -> None:
    highest = 3 if platform == "macos" else 4
    acts = [act_on(platform, operation, path) for operation, path in STANDARD_ACTS]
    for act in acts:
        refused_from = None
        for level in range(1, highest + 1):
            outcome = decider(platform, "content", remote_type, level)(act).outcome
            if refused_from is not None:
                assert outcome is not Outcome.ALLOWED, f"{act}: refused at {refused_from}, allowed at {level}"
            if outcome is Outcome.REFUSED and refused_from is None:
                refused_from = level


def test_places_are_the_same_on_every_platform() -> None:
    assert len({frozenset(places) for places in EXAMPLE_PLACES.values()}) == 1
