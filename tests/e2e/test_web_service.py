"""The service of the guide, with strangers at its door: good uploads are answered, hostile ones refused.

Flow: docs/guides/a-pool-in-a-web-service.md → service.py, client.py → uvicorn on loopback → many requests at a time.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support import leaks
from tests.support.servers import free_port
from tests.support.users import needs_userns

pytestmark = needs_userns

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

PAGE = (Path(__file__).resolve().parents[2] / "docs/guides/a-pool-in-a-web-service.md").read_text()
FILES = dict(re.findall(r"^```python\n# ([a-z]+\.py)\n(.*?)^```", PAGE, re.M | re.S))
SAID = re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S)[0]
REQUESTS, AT_A_TIME = 300, 50
START_S = 60


class Code:
    """A pickle of it calls a function when it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Its address and pid.  It must end by itself when it is asked to, with everything that it started."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    address = f"http://127.0.0.1:{(port := free_port())}"
    words = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--log-level", "warning"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(words, cwd=tmp_path, env=environment) as process:
        try:
            _wait_until_up(address, process)
            yield address, process.pid
            started = descendants(process.pid)
            assert len(started) > 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) in (0, -signal.SIGTERM)
            _wait_until_gone(started)
        finally:
            process.kill()


def _wait_until_up(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            if httpx.get(f"{address}/health").status_code == 200:
                return
        except httpx.TransportError:
            assert process.poll() is None, "it ended"
            assert time.monotonic() < until, "it does not come up"
        time.sleep(0.05)


def descendants(pid: int) -> set[int]:
    """Processes below it, as the kernel tells."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        own = {int(word) for task in tasks for word in Path(f"/proc/{pid}/task/{task}/children").read_text().split()}
    except OSError:
        return set()
    return own.union(*(descendants(each) for each in own))


def _wait_until_gone(pids: set[int]) -> None:
    until = time.monotonic() + 10
    while left := {pid for pid in pids if os.path.exists(f"/proc/{pid}")}:
        assert time.monotonic() < until, f"left behind: {left}"
        time.sleep(0.05)


def test_the_client_of_the_guide_gets_what_the_guide_says(service: tuple[str, int], tmp_path: Path) -> None:
    planted = Path("/tmp/planted")
    there_before = planted.exists()
    done = subprocess.run(
        [sys.executable, "client.py", service[0]], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    said, printed = SAID.splitlines(), done.stdout.splitlines()
    assert len(printed) == len(said)
    for wanted, got in zip(said, printed, strict=True):
        assert got.startswith(wanted.rstrip("…"))
    assert planted.exists() == there_before


def test_under_load_good_uploads_are_answered_and_hostile_ones_refused(
    service: tuple[str, int], tmp_path: Path
) -> None:
    address, pid = service
    planted = tmp_path / "planted"
    hostile = {
        "crash": (Code(os._exit, 3), {422}),
        "segfault": (Code(eval, "__import__('ctypes').string_at(0)"), {422}),
        "hang": (Code(time.sleep, 1000), {422}),
        "bomb": (Code(bytearray, 8 << 30), {413}),
        "read": (Code(open, "/etc/passwd"), {400}),
        "plant": (Code(open, str(planted), "w"), {400}),
        "program": (Code(subprocess.call, ["true"]), {400}),
        "no summary": (3, {400}),
    }
    uploads = [("good", pickle.dumps(list(range(number))), {200}) for number in range(REQUESTS)]
    for place, (name, (value, statuses)) in enumerate(hostile.items()):
        for number in range(place, REQUESTS, 10 * len(hostile)):
            uploads[number] = (name, pickle.dumps(value), statuses)
    asyncio.run(_send(address, uploads[:20]))  # everything has been opened once
    before = _descriptors(pid)
    replies = asyncio.run(_send(address, uploads))
    wrong = Counter(
        (name, reply.status_code, reply.text) for (name, _, right), reply in replies if reply.status_code not in right
    )
    assert not wrong
    good = [(number, reply) for number, ((name, _, _), reply) in enumerate(replies) if name == "good"]
    assert all(reply.json() == {"type": "list", "items": number} for number, reply in good)
    assert not planted.exists()
    assert len(replies) - len(good) > 20
    _wait_until_settled(pid, before)


async def _send(address: str, uploads: list[tuple[str, bytes, set[int]]]) -> list[Any]:
    room = asyncio.Semaphore(AT_A_TIME)
    # The server closes a connection that nobody used for five seconds, as httpx does: who is later meets a closed one.
    limits = httpx.Limits(max_connections=AT_A_TIME, keepalive_expiry=1)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:

        async def send(upload: tuple[str, bytes, set[int]]) -> Any:
            async with room:
                return upload, await client.post(f"{address}/summary", files={"file": upload[1]})

        return await asyncio.gather(*map(send, uploads))


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _wait_until_settled(pid: int, before: int) -> None:
    """Connections are closed a little later, and the last workers end; then it holds what it held."""
    until = time.monotonic() + leaks.GRACE_S + 10
    while _descriptors(pid) > before + AT_A_TIME // 5 or len(descendants(pid)) > 12:
        assert time.monotonic() < until, (_descriptors(pid), before, descendants(pid))
        time.sleep(0.1)


def test_an_upload_that_is_too_large_is_not_even_tried(service: tuple[str, int]) -> None:
    address, _ = service
    for size, status in ((1 << 20, 400), ((1 << 20) + 1, 413)):
        reply = httpx.post(f"{address}/summary", files={"file": b"x" * size}, timeout=60)
        assert reply.status_code == status
