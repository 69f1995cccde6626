"""The exported Seatbelt text, read by a reader of its own, says what the model says."""

from __future__ import annotations

import itertools

import pytest
from tests.platforms import sbpl
from tests.platforms.models import Case, read_cases

from foxden.sandbox import macos, seatbelt
from foxden.sandbox.acts import EXAMPLE_PLACES, STANDARD_ACTS, Act, Operation, Outcome, act_on
from foxden.sandbox.policy_files import read_policy

CHILDREN = [("content", level, remote) for level in range(4) for remote in (None, "web", "file", "privileged")]
CHILDREN += [("gmp", 0, None), ("gmp", 1, None)]
# Elsewhere than usual: foxden inside ~/Library, as `pip install --user` puts it; the profile outside the home.
PLACEMENTS = {
    "usual": EXAMPLE_PLACES["macos"],
    "pip --user": {**EXAMPLE_PLACES["macos"], "install": "/Users/user/Library/Python/3.12/lib/foxden"},
    "profile on a disk of its own": {**EXAMPLE_PLACES["macos"], "profile": "/Volumes/Work/profile"},
    "plugin in the profile": {**EXAMPLE_PLACES["macos"],
                              "plugin": EXAMPLE_PLACES["macos"]["profile"] + "/gmp/plugin"},
}  # fmt: skip


def resolved(child: tuple[str, int, str | None]) -> macos.MacPolicy:
    return macos.resolve(child[0], read_policy, level=child[1], remote_type=child[2])


def exported(policy: macos.MacPolicy, places: dict[str, str]) -> sbpl.Profile:
    return sbpl.read(seatbelt.export(policy), {name.upper(): path for name, path in places.items()})


def answer(profile: sbpl.Profile, act: Act) -> str:
    answers = {profile.answer(*asked) for asked in sbpl.operations(act.operation.value, act.path)}
    assert len(answers) == 1, f"{act}: part of it is allowed"
    return "allowed" if answers.pop() else "refused"


SAID = [case for case in read_cases() if case.platform == "macos" and case.expected != "not said"]


@pytest.mark.parametrize("case", SAID, ids=str)
def test_export_answers_every_case_as_the_documents_say(case: Case) -> None:
    profile = exported(resolved((case.process_type, case.level, case.remote_type)), EXAMPLE_PLACES["macos"])
    assert answer(profile, case.act()) == case.expected


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("child", CHILDREN, ids=str)
def test_export_and_model_agree_on_every_path_that_a_rule_names(
    child: tuple[str, int, str | None], placement: str
) -> None:
    policy, places = resolved(child), PLACEMENTS[placement]
    profile = exported(policy, places)
    paths = {rule.path.format(**places) for rule in policy.files} | set(places.values()) | {"/", "/etc/passwd"}
    paths |= {f"{path.rstrip('/')}/below" for path in paths} | {f"{path}-beside" for path in paths if path != "/"}
    paths |= {path.rpartition("/")[0] or "/" for path in paths}
    operations = (Operation.READ, Operation.LIST, Operation.STAT, Operation.WRITE, Operation.CREATE)
    for path, operation in itertools.product(sorted(paths), operations):
        act = Act(operation, path)
        assert answer(profile, act) == macos.decide(policy, act, places).outcome.value, act


@pytest.mark.parametrize("child", CHILDREN, ids=str)
def test_export_and_model_agree_on_the_standard_acts(child: tuple[str, int, str | None]) -> None:
    policy, places = resolved(child), EXAMPLE_PLACES["macos"]
    profile = exported(policy, places)
    for operation, path in STANDARD_ACTS:
        act = act_on("macos", operation, path)
        decision = macos.decide(policy, act, places)
        if decision.outcome is not Outcome.NOT_SAID and operation is not Operation.CLIPBOARD:
            assert answer(profile, act) == decision.outcome.value, act


def test_export_is_the_same_every_time() -> None:
    first, second = (seatbelt.export(resolved(("content", 3, "web"))) for _ in range(2))
    assert first == second


def test_every_rule_of_the_export_stands_below_its_reason() -> None:
    text = seatbelt.export(resolved(("content", 3, "web")))
    body = text.partition("\n\n")[2].splitlines()
    comment = ""
    for line in body:
        if line.startswith(";"):
            assert "no reason given" not in line
            comment = line
        else:
            assert comment, line
    assert sum(line.startswith(";") for line in body) > 40


def test_names_of_the_parameters_are_said_at_the_top() -> None:
    policy = resolved(("content", 3, "web"))
    assert seatbelt.parameters(policy) == ("home", "profile", "install")
    assert "-D HOME=… -D PROFILE=… -D INSTALL=…" in seatbelt.export(policy)


def test_export_of_level_0_allows_and_says_why() -> None:
    text = seatbelt.export(resolved(("content", 0, "web")))
    assert "(allow default)" in text
    assert "no sandbox" in text


def test_only_named_services_are_reachable() -> None:
    profile = exported(resolved(("content", 3, "web")), EXAMPLE_PLACES["macos"])
    assert profile.answer("mach-lookup", "com.apple.fonts")
    assert not profile.answer("mach-lookup", "com.apple.securityd")
    assert profile.answer("signal", "self")
    assert not profile.answer("signal", "others")
    assert not profile.answer("file-map-executable", "/Users/user/evil.dylib")
    assert profile.answer("file-map-executable", "/usr/lib/libSystem.dylib")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(version 1)(deny default", "are open"),
        ("(version 1)(deny default))", "without"),
        ("(deny default)", "version"),
        ("(version 1)(deny default)(forbid file-read*)", "allow"),
        ('(version 1)(deny default)(allow file-read* (regex "x"))', "filter"),
        ("(version 1)(allow signal)", "default"),
    ],
)
def test_reader_refuses_what_is_no_profile(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sbpl.read(text, {})


def test_reader_takes_the_last_rule_that_matches() -> None:
    text = '(version 1)(deny default)(allow file-read* (subpath "/a"))(deny file-read-data (literal "/a/b"))'
    profile = sbpl.read(text, {})
    assert profile.answer("file-read-data", "/a/c")
    assert not profile.answer("file-read-data", "/a/b")
    assert profile.answer("file-read-metadata", "/a/b")
    assert not profile.answer("file-read-data", "/ab")
