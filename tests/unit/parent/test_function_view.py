"""The rules of a pool's workers: the caller's folders, grants, and what of the folders is kept back."""

from __future__ import annotations

import pytest

from foxden.errors import PolicyError
from foxden.parent.function_view import FunctionGrants, function_policy
from foxden.sandbox.grants import Grants
from foxden.sandbox.paths import AbsPath, Access, lookup
from foxden.sandbox.policy import load, resolve
from foxden.sandbox.policy_files import read_policy

SECRETS = ("/proj/.env", "/proj/.git")


def access(grants: FunctionGrants, path: str, kept_back: tuple[str, ...] = SECRETS) -> Access:
    resolved = resolve(load("utility", read_policy), level=1, remote_type=None, variables={})
    return lookup(function_policy(resolved, grants, ["/proj"], kept_back).files, AbsPath(path))


def test_secrets_in_a_readable_folder_are_denied() -> None:
    assert access(FunctionGrants(), "/proj/app/main.py") & Access.READ
    for path in ("/proj/.env", "/proj/.git/config"):
        assert access(FunctionGrants(), path) == Access.DENY


@pytest.mark.parametrize(
    ("grants", "readable"),
    [
        (FunctionGrants(read=("/proj/.env",)), "/proj/.env"),
        (FunctionGrants(read=("/proj/.git/HEAD",)), "/proj/.git/HEAD"),
        (FunctionGrants(read=("/proj",)), "/proj/.git/config"),
        (FunctionGrants(write=("/proj",)), "/proj/.env"),
        (FunctionGrants(policy=Grants(files=(("/proj/.env", Access.READ),))), "/proj/.env"),
    ],
)
def test_what_the_caller_grants_in_so_many_words_is_given(grants: FunctionGrants, readable: str) -> None:
    assert access(grants, readable) & Access.READ


def test_a_grant_of_one_secret_is_none_of_another() -> None:
    assert access(FunctionGrants(read=("/proj/.env", "/proj/.git/HEAD")), "/proj/.git/config") == Access.DENY
    stat = FunctionGrants(policy=Grants(files=(("/proj", Access.STAT),)))
    assert access(stat, "/proj/.env") == Access.DENY


def test_more_secrets_than_rules_may_have_are_an_error_and_not_shown() -> None:
    many = tuple(f"/proj/{number}.key" for number in range(600))
    with pytest.raises(PolicyError, match=r"at most 512 secrets in the folders of sys\.path, got 600: /proj/0\.key"):
        access(FunctionGrants(), "/proj", many)
