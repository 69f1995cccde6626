"""The peer of the network figures: the same libcurl on asyncio in one process, without any sandbox."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pycurl


class Client:
    """CurlMulti driven by the running loop."""

    def __init__(self, authorities: Path | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._authorities = authorities
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._timer: asyncio.TimerHandle | None = None
        self._watched: dict[int, int] = {}
        self._done: asyncio.Future[None] | None = None
        self._curl = pycurl.Curl()
        self.received = 0

    def _watch(self, what: int, fd: int, multi: object, data: object) -> None:
        old, new = self._watched.pop(fd, 0), 0 if what == pycurl.POLL_REMOVE else what & 3
        if old & 1 and not new & 1:
            self._loop.remove_reader(fd)
        if old & 2 and not new & 2:
            self._loop.remove_writer(fd)
        if new & 1 and not old & 1:
            self._loop.add_reader(fd, self._act, fd, pycurl.CSELECT_IN)
        if new & 2 and not old & 2:
            self._loop.add_writer(fd, self._act, fd, pycurl.CSELECT_OUT)
        if new:
            self._watched[fd] = new

    def _set_timer(self, ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(ms / 1000, self._act, pycurl.SOCKET_TIMEOUT, 0) if ms >= 0 else None

    def _act(self, fd: int, events: int) -> None:
        self._multi.socket_action(fd, events)
        _, ended, failed = self._multi.info_read()
        for curl in ended:
            self._multi.remove_handle(curl)
            if self._done is not None:
                self._done.set_result(None)
        for curl, number, text in failed:
            self._multi.remove_handle(curl)
            if self._done is not None:
                self._done.set_exception(RuntimeError(f"{number}: {text}"))

    def _take(self, data: bytes) -> None:
        self.received += len(data)

    async def get(self, url: str) -> float:
        """Seconds of one exchange; its body is counted and dropped."""
        curl = self._curl
        curl.reset()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.WRITEFUNCTION, self._take)
        curl.setopt(pycurl.BUFFERSIZE, 512 << 10)
        if self._authorities is not None:
            curl.setopt(pycurl.CAINFO, str(self._authorities))
        self._done = self._loop.create_future()
        start = time.perf_counter()
        self._multi.add_handle(curl)
        self._act(pycurl.SOCKET_TIMEOUT, 0)
        await self._done
        return time.perf_counter() - start

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._multi.close()
        self._curl.close()
