"""What the host has of what a program is to see: links, files that the command line names, who the caller is.

Runs in: the parent, the `foxden run` command.  Trusts: its caller's command line; naming a file is granting it.
Flow: arguments + Grants + this host → ProgramPlan (sandbox/program).
Source: interface.md "What a `run` program has by default".
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Mapping, Sequence

from foxden.sandbox.grants import Grants
from foxden.sandbox.paths import AbsPath, Access, FileRule, PathRules, lookup
from foxden.sandbox.program import HOME, Named, ProgramBase, ProgramPlan, User, host_trees, program_plan

_NO_HOME = "/home/user"  # of a caller whose home is / or nowhere
_PASSED_ON = ("PATH", "LANG", "TERM", "TZ")  # of the caller's environment; HOME and TMPDIR are the program's own
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOT_TO_STAND_IN = ("/proc", "/sys", "/dev")  # a working directory there is not made in the program's root


def view_for(
    base: ProgramBase, grants: Grants, arguments: Sequence[str], *, cwd: str, designate: bool = True
) -> ProgramPlan:
    """The plan of one program.  Raises: PolicyError where grants contradict each other."""
    user = caller()
    view = _host_view(base, grants, user.home)
    named = _named(arguments, cwd, view.shown, view.given) if designate else ()
    return view.plan(user, standing_in(cwd), named)


class _HostView:
    """What these grants show of this host, and plans that were made of it: a den often runs a program alike."""

    def __init__(self, base: ProgramBase, grants: Grants, home: str) -> None:
        self.base, self.grants = base, grants
        self.shown = _shown(base, grants, home)
        self.given = {name: real for name, real in grants.links if lookup(self.shown, AbsPath(name)) == Access.NONE}
        self._links = {**_links(tuple(path for path, _ in host_trees(base, home) if path != HOME)), **self.given}
        self._plans: dict[tuple[User, str, tuple[Named, ...]], ProgramPlan] = {}

    def plan(self, user: User, cwd: str, named: tuple[Named, ...]) -> ProgramPlan:
        """`program_plan`, which only computes."""
        key = (user, cwd, named)
        known = self._plans.get(key)
        if known is None:
            if len(self._plans) >= _KEPT:
                self._plans.clear()
            known = program_plan(self.base, self.grants, user, cwd=cwd, named=named, links=self._links)
            self._plans[key] = known
        return known


_KEPT = 16
_views: dict[tuple[int, Grants, str], _HostView] = {}  # by the base's id: no other has it as long as the view is kept


def _host_view(base: ProgramBase, grants: Grants, home: str) -> _HostView:
    key = (id(base), grants, home)
    known = _views.get(key)
    if known is None:
        if len(_views) >= _KEPT:
            _views.clear()
        known = _views[key] = _HostView(base, grants, home)
    return known


def standing_in(cwd: str) -> str:
    """The directory in which the program begins."""
    return "/" if cwd.startswith(_NOT_TO_STAND_IN) else cwd


def caller() -> User:
    """Who runs this, and where their home is."""
    return _user(os.getuid(), os.getgid(), os.path.expanduser("~"))


@functools.lru_cache(maxsize=4)
def _user(uid: int, gid: int, home: str) -> User:
    import pwd

    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "user"
    usable = home.startswith("/") and os.path.normpath(home) == home and home != "/"
    return User(name, uid, gid, home if usable else _NO_HOME)


def environment_for(grants: Grants, home: str, given: Mapping[str, str]) -> dict[bytes, bytes]:
    """All that a program finds in its environment.  `given`: the caller's own, of which little is passed on."""
    chosen = {"PATH": _PATH, **{name: given[name] for name in _PASSED_ON if given.get(name)}}
    chosen |= {"HOME": home, "TMPDIR": "/tmp"}  # noqa: S108 - the program's own
    for name, value in grants.environment:
        found = given.get(name) if value is None else value
        if found is not None:
            chosen[name] = found
    return {os.fsencode(name): os.fsencode(value) for name, value in chosen.items()}


def _shown(base: ProgramBase, grants: Grants, home: str) -> PathRules:
    """Which of the host's files are there without being named."""
    rules = [FileRule(AbsPath(path), Access(access)) for path, access in host_trees(base, home)]
    rules += [FileRule(AbsPath(path), Access.READ) for path in (*grants.read, *grants.write)]
    rules += [FileRule(AbsPath(path), access) for path, access in grants.files]
    return PathRules.of(rules)


def _named(
    arguments: Sequence[str], cwd: str, shown: PathRules, links: Mapping[str, str]
) -> tuple[Named, ...]:
    """Regular files that are whole arguments, and that are not there anyway."""
    found: dict[str, Named] = {}
    for place, argument in enumerate(arguments):
        if not argument or (place == 0 and "/" not in argument):
            continue  # the name of a program, looked for in the folders of PATH
        target = os.path.normpath(os.path.join(cwd, argument))
        there = lookup(shown, AbsPath(_through(links, target)))
        if there == Access.NONE and _is_regular(target):
            found[target] = Named(target, os.path.realpath(target))
    return tuple(found.values())


def _through(links: Mapping[str, str], path: str) -> str:
    """Where the program finds it, whose root has these links."""
    for name, real in links.items():
        if path == name or path.startswith(name + "/"):
            return real + path[len(name) :]
    return path


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


@functools.lru_cache(maxsize=4)
def _links(trees: tuple[str, ...]) -> Mapping[str, str]:
    """Trees that are links to what is shown anyway, as /bin to /usr/bin: links they stay.  Looked at once."""
    links = {}
    for path in trees:
        try:
            leads_to = os.readlink(path)
        except OSError:
            continue  # no link, or nothing
        real = os.path.realpath(path)
        if any(real == tree or real.startswith(tree + "/") for tree in trees if tree != path):
            links[path] = leads_to
    return links
