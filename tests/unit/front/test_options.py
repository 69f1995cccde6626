"""The common options: read once, before or after the command's name, checked before anything starts."""

from __future__ import annotations

from typing import Any

import click
import pytest

from foxden.front.group import group
from foxden.front.options import Settings, common_options, settings_of


def parsed(*words: str) -> Settings:
    """What a command sees of these words; `show` is its name."""
    seen: list[Settings] = []

    @click.group(invoke_without_command=True)
    @common_options
    @click.pass_context
    def outer(context: click.Context, /, **common: Any) -> None:
        context.obj = Settings(**common)

    @outer.command()
    @common_options
    @click.pass_context
    def show(context: click.Context, /, **common: Any) -> None:
        seen.append(settings_of(context, common))

    outer.main(list(words), standalone_mode=False)
    return seen[0]


def test_options_are_taken_before_and_after_the_command() -> None:
    assert parsed("--json", "show") == parsed("show", "--json") == Settings(as_json=True)


def test_nearer_option_wins_and_lists_add_up() -> None:
    settings = parsed(
        "--level", "1", "--pref", "foxden.hang.timeout=1", "--allow-partial", "root", "--log", "a:1", "show",
        "--level", "2", "--pref", "foxden.hang.timeout=2", "--allow-partial", "limits,network", "--log", "b:2",
    )  # fmt: skip
    assert settings.level == 2
    assert settings.prefs == {"foxden.hang.timeout": "2"}
    assert settings.allow_partial == ("root", "limits", "network")
    assert settings.log == ("a:1", "b:2")


def test_level_0_is_a_level() -> None:
    assert parsed("--level", "3", "show", "--level", "0").level == 0
    assert parsed("show").level is None


def test_moz_log_counts_as_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOZ_LOG", "child:5,process:3")
    assert "child:5,process:3" in parsed("show").log


@pytest.mark.parametrize(
    "words",
    [
        ["--pref", "x"], ["--pref", "foxden.hang.timeout=soon"], ["--pref", "foxden.hang.timeout=0"],
        ["--allow-partial", "everything"], ["--level", "5"], ["--level", "-1"], ["--log", "a:b"],
    ],
)  # fmt: skip
def test_wrong_option_is_wrong_usage(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parsed("show", *words)


def test_every_command_that_makes_a_den_has_the_common_options() -> None:
    context = click.Context(group)
    for name in ("open", "fetch", "support", "demo"):
        command = group.get_command(context, name)
        assert command is not None
        names = {option for parameter in command.params for option in parameter.opts}
        assert {"--profile", "--pref", "--log", "--level", "--allow-partial", "--json", "--debug", "--report"} <= names
