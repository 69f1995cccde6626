"""The pools behind a den's `call`, and behind `untrusted`: one a policy, and no more than a few that nobody is calling.

Runs in: parent, on the callers' threads.  Trusts: the caller.
Flow: Den.call(policy=…) → lend → Functions.submit … result → give_back → the one unused for longest is closed.
Source: functools.lru_cache, which bounds what it keeps likewise.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

from foxden.sandbox.grants import FUNCTION_POLICY, Grants

if TYPE_CHECKING:
    from foxden.parent.functions import Functions, MakePool

# A pool is a thread here, and as many workers as calls were made at once, up to one a processor; what it saves when its
# policy comes again is a worker's start, some 30 ms.  A program has a few policies, all of them kept; who makes one for
# each call uses none again.
POOLS_MAX = 8


class Lent:
    """One pool, for one call or several at once: it is not closed before all have given it back.

    A call that is given up (cancelled, interrupted) may still be at work then; closing lets it end.
    """

    def __init__(self, pools: CallPools, functions: Functions) -> None:
        self._pools = pools
        self.functions = functions
        self.calls = 0
        self.used = 0  # the larger, the later

    def __enter__(self) -> Functions:
        return self.functions

    def __exit__(self, *exc: object) -> None:
        self._pools.give_back(self)


class CallPools:
    """See the module's text.  More than POOLS_MAX are open only while as many have calls."""

    def __init__(self, make_pool: MakePool, *, fresh: bool = False, timeout: float | None = None) -> None:
        """`fresh`: each call has a worker of its own.  `timeout`: seconds, where the policy says none."""
        self._make_pool, self._fresh, self._timeout = make_pool, fresh, timeout
        self._lock = threading.Lock()
        self._kept: dict[Grants, Lent] = {}  # by policy
        self._uses = itertools.count(1)

    def lend(self, policy: Any) -> Lent:
        """The pool of this policy, to be used with `with`.  Raises: what policy_grants, Functions, make_pool raise."""
        grants = grants_of(policy)
        with self._lock:
            lent = self._kept.get(grants)
            if lent is None:
                lent = self._kept[grants] = Lent(self, self._made(grants))
            lent.calls += 1
            lent.used = next(self._uses)
            self._close_unused()
        return lent

    def give_back(self, lent: Lent) -> None:
        with self._lock:
            lent.calls -= 1
            self._close_unused()

    def _made(self, grants: Grants) -> Functions:
        from foxden.parent.function_view import grants_of_policy
        from foxden.parent.functions import Functions

        timeout = self._timeout if grants.timeout_s is None else None
        return Functions(self._make_pool, grants=grants_of_policy(grants), fresh=self._fresh, timeout=timeout)

    def _close_unused(self) -> None:
        """With the lock held: those that are too many and have no call go, the one unused for longest first."""
        too_many = len(self._kept) - POOLS_MAX
        if too_many <= 0:
            return
        unused = [grants for grants, lent in self._kept.items() if not lent.calls]
        for grants in sorted(unused, key=lambda each: self._kept[each].used)[:too_many]:
            self._kept.pop(grants).functions.pool.close(cancel=False)


def grants_of(policy: Any) -> Grants:
    """See policies.policy_grants, which loads what reads policies: most calls have none."""
    if policy is None:
        return Grants()
    from foxden.parent.policies import policy_grants

    return policy_grants(policy, FUNCTION_POLICY)
