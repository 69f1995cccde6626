"""Learning: what was refused becomes a policy that gives it, and no more; nothing that should not be given is."""

from __future__ import annotations

import tomllib

import msgspec
import pytest

from foxden.model.records import Act, Violation
from foxden.sandbox.explain import Explainer
from foxden.sandbox.explain_hints import Hints
from foxden.sandbox.grants import Grants, file_rules
from foxden.sandbox.grants_text import parse_grants
from foxden.sandbox.learn import learn
from foxden.sandbox.paths import AbsPath, Access, FileRule, PathRules
from foxden.sandbox.policy import load, resolve
from foxden.sandbox.policy_files import read_policy

HOME = "/home/me"


class Disk:
    """Paths that are there; links by what they lead to."""

    def __init__(self, *paths: str, links: dict[str, str] | None = None) -> None:
        self._links = links or {}
        self._paths = {"/", *paths, *self._links}
        for path in tuple(self._paths):
            while path := path.rpartition("/")[0]:
                self._paths.add(path)

    def real(self, path: str) -> str | None:
        return self._links.get(path, path) if path in self._paths else None


def refused(path: str, access: str = "r", count: int = 1) -> Violation:
    return Violation(
        time=1.0, pid=7, process_type="plugin", kind="file", operation="open", path=path, access=access, count=count
    )  # fmt: skip


def syscall(name: str) -> Violation:
    return Violation(time=1.0, pid=7, process_type="plugin", kind="syscall", operation=name, syscall=name)


def connect(host: str, port: int | None = None) -> Violation:
    return Violation(
        time=1.0, pid=7, process_type="plugin", kind="network", operation="connect", host=host, port=port
    )  # fmt: skip


def learnt(acts: list[Violation], disk: Disk, before: Grants = Grants()) -> tuple[str, Grants]:  # noqa: B008
    """The text, and what it gives when it is read back: it always can be."""
    text = learn(acts, real=disk.real, home=HOME, read=read_policy, before=before)
    return text, parse_grants("learnt.toml", text, real=disk.real, read=read_policy)


def given(grants: Grants) -> dict[str, str]:
    return {path: access.word() for path, access in file_rules(grants)}


def test_what_was_refused_is_granted_when_the_policy_is_used() -> None:
    """The round trip: refused → learnt → loaded → the same acts are allowed, by the same judge that refused them."""
    disk = Disk("/data/in.csv", "/data/conf", "/out", "/home/me/p/a", "/home/me/p/b", "/home/me/p/c", "/srv/tool/run")
    acts = [
        refused("/data/in.csv"), refused("/data/conf", "stat"), refused("/out/new", "wc"),
        refused("/srv/tool/run", "x"), *(refused(f"/home/me/p/{name}", "rw") for name in "abc"),
    ]  # fmt: skip
    before = resolve(load("plugin", read_policy), level=1, remote_type=None, variables={})
    _, grants = learnt(acts, disk)
    rules = [FileRule(AbsPath(path), access) for path, access in file_rules(grants)]
    after = msgspec.structs.replace(before, files=PathRules.of([*before.files.rules(), *rules]))
    for resolved, allowed in ((before, False), (after, True)):
        judge = Explainer(resolved, Hints("plugin", read_policy), arch="x86_64")
        for act in acts:
            assert act.path is not None
            assert act.access is not None
            wanted = Access.parse(act.access) & ~Access.EXECUTE or Access.READ  # starting programs is another layer's
            assert judge.file(act.path, wanted).allowed == allowed, act


def test_few_files_stay_files_and_many_become_their_directory() -> None:
    disk = Disk(*(f"/data/{name}" for name in "abc"), "/other/a", "/other/b")
    _, grants = learnt([*(refused(f"/data/{n}") for n in "abc"), refused("/other/a"), refused("/other/b")], disk)
    assert given(grants) == {"/data": "r", "/other/a": "r", "/other/b": "r"}


def test_directories_merge_upwards_as_far_as_is_sensible() -> None:
    files = [f"/srv/app/{folder}/{name}" for folder in ("x", "y", "z") for name in "abc"]
    assert given(learnt([refused(path) for path in files], Disk(*files))[1]) == {"/srv/app": "r"}


@pytest.mark.parametrize("directory", ["/home/me", "/home", "/etc", "/tmp", "/usr", "/dev", "/var", "/opt"])
def test_no_number_of_files_makes_a_grant_of_a_whole_tree(directory: str) -> None:
    files = [f"{directory}/file{number}" for number in range(9)]
    grants = learnt([refused(path) for path in files], Disk(*files, HOME))[1]
    assert given(grants) == dict.fromkeys(files, "r")


@pytest.mark.parametrize(
    ("path", "access"),
    [("/", "r"), ("/home", "r"), ("/home/me", "r"), ("/etc", "r"), ("/dev", "rw"), ("/proc", "r"), ("/tmp/x", "wc"),
     ("/home/me/new", "wc"), ("/proc/1/environ", "r"), ("/new", "c")],
)  # fmt: skip
def test_whole_tree_is_told_and_not_granted(path: str, access: str) -> None:
    text, grants = learnt([refused(path, access)], Disk(path, HOME, "/tmp"))
    assert grants.is_empty()
    assert f'#   "{path}" = "{access}": ' in text


@pytest.mark.parametrize("path", ["/home/me/.ssh/id_rsa", "/home/me/.aws/credentials", "/p/.env", "/p/tls/server.pem"])
def test_secret_is_told_and_not_granted(path: str) -> None:
    text, grants = learnt([refused(path)], Disk(path, HOME))
    assert grants.is_empty()
    assert f'#   "{path}" = "r": it seems to hold' in text


def test_link_to_a_secret_is_a_secret() -> None:
    disk = Disk("/home/me/.ssh/id_rsa", links={"/p/harmless": "/home/me/.ssh/id_rsa"})
    assert learnt([refused("/p/harmless")], disk)[1].is_empty()


def test_link_is_learnt_as_what_it_leads_to() -> None:
    assert given(learnt([refused("/p/link")], Disk("/data/x", links={"/p/link": "/data/x"}))[1]) == {"/data/x": "r"}


def test_directory_with_a_secret_in_it_is_not_granted_for_its_files() -> None:
    files = [f"/p/{name}" for name in "abcd"]
    assert given(learnt([refused(path) for path in files], Disk(*files, "/p/.env"))[1]) == dict.fromkeys(files, "r")


def test_directory_that_must_be_granted_says_which_secrets_are_in_it() -> None:
    text, grants = learnt([refused("/p/new", "wc")], Disk("/p/.env"))
    assert given(grants) == {"/p": "rwc"}
    assert '"/p" = "rwc"  # 1 time; beware, it holds .env' in text


def test_missing_file_is_told_and_its_directory_is_given_only_to_make_it() -> None:
    text, grants = learnt([refused("/p/sub/missing")], Disk("/p/sub"))
    assert grants.is_empty()
    assert '"/p/sub/missing" = "r": nothing is there' in text
    assert given(learnt([refused("/p/sub/missing", "wc")], Disk("/p/sub"))[1]) == {"/p/sub": "rwc"}


def test_grant_below_another_gives_what_that_one_gives_too() -> None:
    disk = Disk("/p/out/log", "/p/x")
    _, grants = learnt([refused("/p"), refused("/p/out/log", "w"), refused("/p/x")], disk)
    assert given(grants) == {"/p": "r", "/p/out/log": "rw"}


def test_hopeless_calls_are_told_and_others_granted() -> None:
    acts = [syscall(name) for name in ("mlock", "mlock", "ptrace", "io_uring_setup", "openat", "socket")]
    text, grants = learnt(acts, Disk())
    assert grants.syscalls == ("mlock",)
    assert '  "mlock",  # 2 times' in text
    assert "#   ptrace: it reaches into other processes" in text
    assert "io_uring_setup: it has the kernel do work that no filter sees" in text


def test_hosts_are_granted_and_private_addresses_told() -> None:
    acts = [connect("API.example", 443), connect("api.example", 443), connect("10.0.0.1", 80),
            connect("169.254.169.254"), connect("2606:4700::1", 443), connect("a b\n[files]")]  # fmt: skip
    text, grants = learnt(acts, Disk())
    assert grants.connect == ("[2606:4700::1]:443", "api.example:443")
    assert '"api.example:443",  # 2 times' in text
    assert '#   "10.0.0.1:80": its address is private' in text
    assert '#   "169.254.169.254": its address is link-local' in text
    assert "no host that a policy could name" in text


def test_what_was_used_of_earlier_grants_is_kept_and_what_everyone_has_is_left_out() -> None:
    fields = {name: getattr(refused("/data/x"), name) for name in Violation.__struct_fields__}
    used = Act(**{**fields, "rule": 'granted: files "/data" = "r"'}, granted=True)
    common = Act(**{**fields, "path": "/usr/lib/x", "rule": 'plugin.toml: files "/usr" = "r"'}, granted=True)
    assert given(learnt([used, common], Disk("/data/x", "/usr/lib/x"))[1]) == {"/data/x": "r"}


def test_what_a_private_tree_hid_is_learnt_and_what_is_nowhere_is_not() -> None:
    fields = {name: getattr(refused("/home/me/data"), name) for name in Violation.__struct_fields__}
    rule = 'plugin.toml: files "{home}" = "rwcx"'

    def missed(path: str) -> Act:
        return Act(**{**fields, "path": path, "errno": "ENOENT", "rule": rule}, granted=True)

    disk = Disk("/home/me/data", "/home/me/.ssh/id_rsa", "/proc/1/environ")
    acts = [missed(path) for path in ("/home/me/data", "/home/me/.ssh/id_rsa", "/home/me/nowhere", "/proc/1/environ")]
    text, grants = learnt(acts, disk)
    assert given(grants) == {"/home/me/data": "r"}
    assert "id_rsa" in text
    assert "nowhere" not in text


def test_learning_goes_on_from_the_policy_before() -> None:
    disk = Disk("/data/x", "/more/y")
    before = Grants(files=(("/data/x", Access.READ),), connect=("a.example",), syscalls=("mlock",))
    text, grants = learnt([refused("/more/y")], disk, before)
    assert given(grants) == {"/data/x": "r", "/more/y": "r"}
    assert (grants.connect, grants.syscalls) == (("a.example",), ("mlock",))
    assert '"/data/x" = "r"  # kept from before' in text


@pytest.mark.parametrize(
    "name",
    ['quote"', "back\\slash", "new\nline", '"\n[files]\n"/" = "rwc"\n#', "esc\x1b[31m", "bidi\u202etxt", "tab\t",
     "del\x7f", "\u2028line", "# comment", "{install}", "emoji\U0001f600"],
)  # fmt: skip
def test_hostile_name_is_one_key_and_nothing_else(name: str) -> None:
    path = f"/p/{name}"
    text, grants = learnt([refused(path)], Disk(path))
    assert given(grants) == {path: "r"}
    assert list(tomllib.loads(text)) == ["extends", "files"]
    assert not set(text) & {"\x1b", "\u202e", "\x7f", "\u2028", "\t"}


@pytest.mark.parametrize("name", ["x\udcff", "\ud800"])
def test_name_that_is_no_text_is_told_and_not_granted(name: str) -> None:
    text, grants = learnt([refused(f"/p/{name}")], Disk(f"/p/{name}"))
    assert grants.is_empty()
    assert "no policy can name this path" in text
    text.encode()


def test_hostile_name_in_a_comment_cannot_end_it() -> None:
    names = ['a\nextends = "x"', "b\r\n[files]", "c\x85"]
    text, grants = learnt([refused(f"/p/{name}") for name in names], Disk(*(f"/p/{name}" for name in names)))
    assert given(grants) == {"/p": "r"}
    assert len(text.splitlines()) == 5


def test_nothing_refused_is_an_empty_policy() -> None:
    assert learnt([], Disk())[1].is_empty()
