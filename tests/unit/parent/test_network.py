"""The parent's end of an exchange: heads and ends come in one order only."""

from __future__ import annotations

import asyncio

import pytest

from foxden.errors import BadMessage
from foxden.parent.network import HttpTransactionParent
from foxden.protocols.network import Finished, NetOutcome, PHttpTransaction, Timing

STOP = PHttpTransaction.OnStop(NetOutcome("NS_ERROR_NET_RESET"), 0, Timing())


def start(finished: Finished | None) -> PHttpTransaction.OnStart:
    return PHttpTransaction.OnStart(200, "1.1", (), "192.0.2.1", 80, finished=finished)


@pytest.mark.parametrize("finished", [None, Finished(0, Timing())])
def test_head_after_the_end_is_a_broken_protocol(finished: Finished | None) -> None:
    async def run() -> None:
        transaction = HttpTransactionParent()
        transaction.recv_on_stop(STOP)
        assert transaction.start.result() is None
        with pytest.raises(BadMessage, match=r"PHttpTransaction\.OnStart: sent after OnStop"):
            transaction.recv_on_start(start(finished))

    asyncio.run(run())


def test_head_with_the_whole_body_is_the_end_too() -> None:
    async def run() -> None:
        transaction = HttpTransactionParent()
        transaction.recv_on_start(start(Finished(5, Timing())))
        stop = transaction.stop.result()
        assert stop is not None
        assert (stop.outcome.ok, stop.received_bytes) == (True, 5)

    asyncio.run(run())
