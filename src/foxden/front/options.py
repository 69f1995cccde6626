"""Options that every command with a den has, before or after the command's name, and the den they make.

Runs in: command.  Trusts: the user's command line.
Flow: options of the group + options of the command → Settings → Den.
Source: interface.md "Command", common options.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from foxden.front.failures import warn

if TYPE_CHECKING:
    from foxden.parent.den import Den

F = TypeVar("F", bound=Callable[..., Any])

DAY_S = 86_400.0
_NO_PRELAUNCH = {"dom.ipc.processPrelaunch.fission.number": 0}


class Settings(msgspec.Struct, frozen=True):
    """What the common options said."""

    profile: str | None = None
    prefs: Mapping[str, str] = msgspec.field(default_factory=dict)
    log: tuple[str, ...] = ()
    level: int | None = None
    allow_partial: tuple[str, ...] = ()
    as_json: bool = False
    debug: bool = False
    report: str | None = None

    def over(self, outer: Settings) -> Settings:
        """Both together; what was said nearer to the command wins."""
        return Settings(
            profile=self.profile or outer.profile,
            prefs={**outer.prefs, **self.prefs},
            log=outer.log + self.log,
            level=outer.level if self.level is None else self.level,
            allow_partial=outer.allow_partial + self.allow_partial,
            as_json=self.as_json or outer.as_json,
            debug=self.debug or outer.debug,
            report=self.report or outer.report,
        )


def _names_and_values(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE`, each checked against the table of preferences."""
    pairs = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals:
            raise click.BadParameter(f"expected NAME=VALUE, got {item!r}")
        _check_preference(name.strip(), value)
        pairs[name.strip()] = value
    return pairs


def _check_preference(name: str, value: str) -> None:
    from foxden.model.preferences import PreferenceError, checked

    try:
        checked(name, value)
    except PreferenceError as error:
        raise click.BadParameter(f"{error}; {error.hint}" if error.hint else str(error)) from None


def _layers(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Names of layers, each given by itself or in a comma list."""
    names = tuple(name.strip() for item in given for name in item.split(",") if name.strip())
    if names:
        from foxden.model.enforcement import Layer

        known = [layer.value for layer in Layer]
        for name in names:
            if name not in known:
                raise click.BadParameter(f"expected a layer, one of {', '.join(known)}; got {name!r}")
    return names


def _level(_: click.Context, __: click.Parameter, level: int | None) -> int | None:
    if level is not None and not 0 <= level <= 4:
        raise click.BadParameter(f"expected 0 to 4, got {level}")
    return level


def seconds(_: click.Context, __: click.Parameter, value: float) -> float:
    """Callback of options that take seconds: more than none, at most a day."""
    if not 0 < value <= DAY_S:
        raise click.BadParameter(f"expected seconds, more than 0 and at most {DAY_S:g}, got {value:g}")
    return value


def _log_words(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    from foxden.front.log import LogSyntaxError, parse

    for item in given:
        try:
            parse(item)
        except LogSyntaxError as error:
            raise click.BadParameter(str(error)) from None
    return given


_ANY_COMMAND = (
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option("--debug", is_flag=True, help="Show tracebacks."),
)
_OF_POLICIES = (
    click.option("--profile", metavar="DIR", type=click.Path(exists=True, file_okay=False),
                 help="Profile folder; pages cannot read it."),
    click.option("--pref", "prefs", metavar="NAME=VALUE", multiple=True, callback=_names_and_values,
                 help="Set a preference; may be repeated."),
)  # fmt: skip
_WITH_A_DEN = (
    *_OF_POLICIES,
    click.option("--level", metavar="N", type=int, callback=_level,
                 help="Sandbox level of content processes, 0 to 4."),
    click.option("--allow-partial", metavar="LAYER,…", multiple=True, callback=_layers,
                 help="Go on without these layers of the sandbox, where the kernel lacks them."),
    click.option("--log", metavar="MODULE:LEVEL,…", multiple=True, callback=_log_words, envvar="MOZ_LOG",
                 help="Log to standard error, in MOZ_LOG's syntax: child:5,process:4."),
    click.option("--report", metavar="FILE", help="Append violations to this file, as JSON lines."),
    *_ANY_COMMAND,
)  # fmt: skip


def common_options(function: F) -> F:
    """Give a command that makes a den the common options; it takes them as `**common`."""
    return _given(function, _WITH_A_DEN)


def plain_options(function: F) -> F:
    """The same for a command that makes none: --json and --debug."""
    return _given(function, _ANY_COMMAND)


def policy_options(function: F) -> F:
    """The same for a command that makes no den but shows what one would be given."""
    return _given(function, (*_OF_POLICIES, *_ANY_COMMAND))


def _given(function: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def settings_of(context: click.Context, common: Mapping[str, Any]) -> Settings:
    """This command's settings: its own options over those before its name.  Kept where `main` finds `debug`."""
    own = Settings(**common)
    outer = context.find_object(Settings)
    settings = own if outer is None else own.over(outer)
    context.find_root().obj = settings
    return settings


def make_den(
    settings: Settings, *, one_page: bool = False, lock_parent: bool = True, warm: Sequence[str] = ()
) -> Den:
    """The command's den, with a parent that locks itself.  Raises what Den raises."""
    from foxden.front import log
    from foxden.parent.den import Den

    gc.freeze()  # all that was just loaded stays: it need never be walked
    gc.enable()

    log.start(settings.log)
    prefs: dict[str, object] = dict(_NO_PRELAUNCH) if one_page else {}
    prefs.update(settings.prefs)
    return Den(
        profile=settings.profile,
        prefs=prefs,
        lock_parent=lock_parent,
        allow_partial=settings.allow_partial,
        level=settings.level,
        warm=warm,
        report=settings.report,
    )


def warn_of_sandboxes_off(den: Den, *types: str) -> None:
    """Say it loudly when these types run without a sandbox, because of a preference or the environment."""
    from foxden.model.process_types import BY_NAME

    off = [name for name in types if den._runtime.prefs.switched_off(BY_NAME[name])]
    if off:
        warn(f"SANDBOX OFF: {' and '.join(off)} processes run without any protection")
    for line in den._runtime.plans.warnings() if den._runtime.prefs.widens_content() else ():
        warn(line)


def warn_of_build_settings() -> None:
    """Say it at the start of every command when this package was built without sandboxes."""
    from foxden import build_settings

    if build_settings.DISABLE_SANDBOX:
        warn("SANDBOX OFF: this foxden was built with disable-sandbox: no process of it has any protection")
    elif build_settings.DISABLE_CONTENT_SANDBOX:
        warn("SANDBOX OFF: this foxden was built with disable-content-sandbox: content has no protection")
