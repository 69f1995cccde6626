"""The loop: one notification of each child a round, every one of them answered.

Runs in: the broker process, or in a supervisor that makes a Broker of its own.  Trusts: who attaches; no child.
Flow: attach → epoll → receive → Job → operation → give | succeed | fail; what was refused → sink.
Source: seccomp_unotify(2); Gecko's SandboxBroker; hostile cases 94 and 96.

The sink is called with Act, Ask and Detached.  It must not block: while it does no child is answered.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from time import monotonic

import msgspec

from foxden.broker import changing, kernel, looking, memory, opening, quick, standing
from foxden.broker.client import Client, Pending, StackWait
from foxden.broker.forms import KNOWN_FLAGS, Request, decode, forms_of, signed_64
from foxden.broker.job import EACCES, EINVAL, ENOENT, Gone, Job
from foxden.broker.loops import Ready, make_loop
from foxden.broker.notify import Listener, Notification, sizes
from foxden.broker.own_folders import OwnFolders
from foxden.broker.records import Act, Ask, Detached, Given, Refused, carried
from foxden.broker.rules import READ, STAT
from foxden.broker.view import View
from foxden.broker.waiting import Later, Waiting, connected
from foxden.sandbox import linux

_ENOSYS = errno.ENOSYS
_STACK_S = 0.2  # a busy machine takes its time; it is waited for once for each call that a thread does not hear
_STACK_SIGNAL = int(signal.SIGUSR2)
_NEVER = float("inf")
_FLUSH_S = 1.0
_ASKS_MAX = 64  # of one child at a time; beyond that it is refused unasked
ASK_TIMEOUT_S = 30.0

Sink = Callable[[Act | Ask | Detached], None]
Operation = Callable[[Job], "int | Given | Later"]
Stack = Callable[[], tuple[str, ...]]  # reads it, when there is time: the child need not wait for that
OPERATIONS: dict[str, Operation] = {
    "open": opening.open_, "connect": opening.connect,
    "stat": looking.stat_, "statx": looking.statx, "access": looking.access, "readlink": looking.readlink,
    "statfs": looking.statfs, "getxattr": looking.getxattr, "listxattr": looking.listxattr,
    "mkdir": changing.mkdir, "mknod": changing.mknod, "symlink": changing.symlink, "link": changing.link,
    "rename": changing.rename, "unlink": changing.unlink, "chmod": changing.chmod, "chown": changing.chown,
    "truncate": changing.truncate, "utime": changing.utime, "setxattr": changing.setxattr,
    "removexattr": changing.removexattr, "memfd": memory.memfd,
    "chdir": standing.chdir, "getcwd": standing.getcwd,
}  # fmt: skip


class Broker:
    """Answers the children that are attached.  Sets the process's umask: what it makes gets exactly its mode."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._size = sizes()[0]
        self._forms = forms_of(linux.ARCH)
        self._loop = make_loop(self._size)
        self._epoll = self._loop.epoll
        self._waiting = Waiting()
        self._by_id: dict[int, Client] = {}
        self._by_fd: dict[int, Client] = {}
        self._pending: dict[int, Pending] = {}  # by token: asked, or at a helper
        self._token = 0
        self._stack_waits: list[Client] = []
        self._watched: dict[int, Callable[[int], None]] = {}
        self._flush_at = 0.0
        self._host = View.of_host()
        self.folders = OwnFolders(())
        self._umask = os.umask(0)
        self.watch(self._waiting.fileno(), lambda event: self._collect())

    # ---- children

    def attach(
        self,
        child_id: int,
        listener: int,
        stacks: int = -1,
        view: str = "host",
        rules: Iterable[tuple[str, int]] = (),
        protected: Iterable[tuple[str, Iterable[str]]] = (),
        errnos: Mapping[int, int] | None = None,
        *,
        ask: bool = False,
        ask_timeout_s: float = ASK_TIMEOUT_S,
        everything: bool = False,
        show_ancestors: bool = False,
        folder: str = "",
        temporary: str = "",
        shared_memory: str = "",
    ) -> None:
        """Answer one more child.  Takes over both descriptors.  `view`: host | child, which is shown them anyway."""
        if child_id in self._by_id:
            self.detach(child_id)
        client = Client(
            child_id, Listener(listener, self._size), stacks, self._sink, dict(errnos or {}),
            loop=self._loop, is_child=view == "child", ask=ask, ask_timeout_s=ask_timeout_s, everything=everything,
            show_ancestors=show_ancestors or view == "child",
        )  # fmt: skip
        client.folder, client.shared_memory = folder, shared_memory
        self._by_id[child_id] = self._by_fd[listener] = client
        client.set_rules(tuple(rules), tuple((tree, tuple(names)) for tree, names in protected))
        if not client.is_child:
            own = self.folders.take(child_id) if temporary else -1
            client.take_view(self._host if own < 0 else self._host.with_own(temporary, own))
        self._epoll.register(listener, select.EPOLLIN)

    def set_rules(
        self, child_id: int, rules: Iterable[tuple[str, int]], protected: Iterable[tuple[str, Iterable[str]]] = ()
    ) -> bool:
        """These and no others from now on; what is open stays open.  False: there is no such child (any more)."""
        client = self._by_id.get(child_id)
        if client is not None:
            client.set_rules(tuple(rules), tuple((tree, tuple(names)) for tree, names in protected))
        return client is not None

    def detach(self, child_id: int) -> None:
        """Answer it no more: from now on the kernel says ENOSYS."""
        client = self._by_id.get(child_id)
        if client is not None:
            self.folders.drop(child_id)
            self._end(client)

    def answer(self, token: int, *, allow: bool) -> None:
        """The decision on an Ask.  One that comes too late changes nothing."""
        pending = self._pending.get(token)
        if pending is None or pending.refusal is None:
            return
        del self._pending[token]
        refusal, client, note = pending.refusal, pending.client, pending.note

        def stack() -> tuple[str, ...]:
            return pending.stack

        if allow:
            self._handle(client, note, stack, (refusal.path, refusal.access), asked=True)
        else:
            self._answer_refusal(client, note, refusal, pending.operation, stack)

    def _end(self, client: Client) -> None:
        for token in [token for token, pending in self._pending.items() if pending.client is client]:
            self._waiting.cancel(token)
            del self._pending[token]
        if client.stack_wait is not None:
            self._no_longer(client)
        self._epoll.unregister(client.listener.fd)
        del self._by_id[client.child_id], self._by_fd[client.listener.fd]
        served = client.served
        self._loop.remove(client)
        client.close(keep=self._host)
        self.folders.give_back(client.child_id)
        self._sink(Detached(client.child_id, served, client.refused, client.teller.untold))

    def close(self) -> None:
        for client in list(self._by_id.values()):
            self._end(client)
        self._waiting.close()
        self._loop.close()
        self._host.close()
        os.umask(self._umask)

    # ---- the loop

    def fileno(self) -> int:
        """To be polled for reading; then, and after `timeout` seconds, call step(0)."""
        return self._epoll.fileno()

    def timeout(self) -> float:
        """Seconds until something is due; negative: nothing is."""
        due = self._due()
        return max(0.0, due - monotonic()) if due < _NEVER else -1.0

    def _due(self) -> float:
        due = self._flush_at or _NEVER
        for client in self._stack_waits:
            if client.stack_wait is not None and client.stack_wait.deadline < due:
                due = client.stack_wait.deadline
        return min(due, *(pending.deadline for pending in self._pending.values())) if self._pending else due

    def watch(self, fd: int, on_event: Callable[[int], None]) -> None:
        """Have the loop also wait for this descriptor to be readable."""
        self._watched[fd] = on_event
        self._epoll.register(fd, select.EPOLLIN)

    def watch_writing(self, fd: int, *, writing: bool) -> None:
        self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT if writing else select.EPOLLIN)

    def step(self, timeout: float = -1.0) -> None:
        """Wait for at most `timeout` seconds (negative: as long as it takes), and serve one round."""
        due = self._due()
        wait = timeout
        if due < _NEVER:
            own = max(0.0, due - monotonic())
            wait = own if timeout < 0 else min(own, timeout)
        others = []
        for ready in self._loop.wait(wait):
            client = self._by_fd.get(ready.fd)
            if client is None:
                others.append((ready.fd, ready.event))
            elif ready.event & select.EPOLLIN:
                self._serve(client, ready)
            else:
                self._end(client)
        for fd, event in others:  # last: who attaches could get the number of a listener whose event is still here
            self._watched[fd](event)
        if due < _NEVER and (now := monotonic()) >= due:
            self._tick(now)

    def _serve(self, client: Client, ready: Ready) -> None:
        note, copies = ready.note, ready.copies
        if note is None or copies is None:
            note, copies = client.listener.receive(), {}
            if note is None:
                return
            client.received += 1
        wait = client.stack_wait
        if wait is not None and wait.key == _key(note):
            # The same call of the same thread, which is refused whatever its memory says by now.
            self._no_longer(client)
            self._refuse(client, note, wait.refusal, wait.operation, client.read_stack, asked=False)
            return
        view = client.quick_view
        try:
            if view is not None and quick.answer(client, view, note, copies):
                return
        except Refused as refusal:
            self._refuse(client, note, refusal, quick.CALLS[note.number].operation, None, asked=False)
            return
        except OSError as error:
            client.listener.fail(note.id, error.errno or EACCES)
            return
        self._handle(client, note, copies=copies)

    def _handle(
        self,
        client: Client,
        note: Notification,
        stack: Stack | None = None,
        allowed: tuple[str, int] | None = None,
        *,
        asked: bool = False,
        copies: dict[int, str] | None = None,
    ) -> None:
        """Do what is asked, or refuse it.  `stack`: it was asked for already.  `copies`: of texts read already."""
        name, form = self._forms.get(note.number, ("", None))
        if form is None:
            unknown = Refused(errno=client.errnos.get(note.number, _ENOSYS))
            return self._refuse(client, note, unknown, "", stack, asked=True)
        request = decode(name, form, note.args)
        try:
            self._do(client, note, request, allowed, copies or {})
        except Refused as refusal:
            self._refuse(client, note, refusal, request.operation, stack, asked=asked)
        except Gone:
            return None
        except OSError as error:
            client.listener.fail(note.id, error.errno or EACCES)
        except Exception as error:  # whatever of ours fails: the child has its answer, and the others go on
            sys.excepthook(*sys.exc_info())  # in C: traceback is a fifth of what this process loads
            failure = Refused(errno=EACCES, detail=f"the broker failed: {type(error).__name__}")
            self._answer_refusal(client, note, failure, request.operation, _no_stack)
        return None

    def _do(
        self, client: Client, note: Notification, request: Request, allowed: tuple[str, int] | None,
        copies: dict[int, str],
    ) -> None:  # fmt: skip
        if client.view is None:
            self._take_view(client, note)
        if request.flags & ~KNOWN_FLAGS.get(request.operation, 0xFFFF_FFFF):
            raise OSError(EINVAL, "flags")
        job = Job(client, client.have_view(), note, request, copies, allowed)
        try:
            result = OPERATIONS[request.operation](job)
        except FileNotFoundError:
            if client.everything and job.last[0]:  # granted, and not there: what is private may hide the host's
                self._tell_granted(client, note, request, job.last, ENOENT)
            raise
        finally:
            job.close()
        self._finish(client, note, request, result)
        if client.everything:
            self._tell_granted(client, note, request, job.last)

    def _take_view(self, client: Client, note: Notification) -> None:
        """A program's root, as its first call shows it."""
        view = View.of_task(note.tid)
        if not client.listener.is_valid(note.id):  # it may have been another's number by then
            view.close()
            raise Gone
        client.take_view(view)

    def _finish(self, client: Client, note: Notification, request: Request, result: int | Given | Later) -> None:
        if isinstance(result, Given):
            try:
                client.listener.give(note.id, result.fd, close_on_exec=result.close_on_exec)
            finally:
                os.close(result.fd)
        elif isinstance(result, Later):
            self._begin(client, note, request, result)
        else:
            client.listener.succeed(note.id, result)

    # ---- what takes long

    def _begin(self, client: Client, note: Notification, request: Request, later: Later) -> None:
        if later.socket_type:
            try:
                return self._connected(client, note, later, connected(later, now=True))
            except BlockingIOError:
                if not later.blocks:
                    os.close(later.fd)
                    raise
            except BaseException:
                os.close(later.fd)
                raise
        self._token += 1
        self._waiting.start(self._token, later)
        self._pending[self._token] = Pending(client, note, request.operation, None, (), monotonic() + _FLUSH_S)
        return None

    def _connected(self, client: Client, note: Notification, later: Later, fd: int) -> None:
        try:
            if client.listener.replace(note.id, fd, later.target, close_on_exec=later.close_on_exec):
                client.listener.succeed(note.id, 0)
        finally:
            os.close(fd)
            os.close(later.fd)

    def _collect(self) -> None:
        for token, later, result in self._waiting.collect():
            pending = self._pending.pop(token)
            listener, note = pending.client.listener, pending.note
            try:
                if isinstance(result, OSError):
                    raise result
                if later.attempt is not None:
                    listener.succeed(note.id, 0)
                elif later.socket_type:
                    if listener.replace(note.id, result, later.target, close_on_exec=later.close_on_exec):
                        listener.succeed(note.id, 0)
                else:
                    listener.give(note.id, result, close_on_exec=later.close_on_exec)
            except OSError as error:
                listener.fail(note.id, error.errno or EACCES)
            finally:
                if isinstance(result, int) and result >= 0:
                    os.close(result)

    # ---- refusing, and telling

    def _refuse(
        self, client: Client, note: Notification, refusal: Refused, operation: str, stack: Stack | None,
        *, asked: bool,
    ) -> None:  # fmt: skip
        """Ask for the stack if it has one and this is new; ask the parent, if it wants to be asked; refuse."""
        key = (note.number, refusal.path, False)
        may_ask = client.ask and not asked and bool(refusal.path) and not refusal.errno
        if stack is None and not client.teller.is_first(key):
            if not may_ask:
                self._fail(client, note, refusal)
                return None
            stack = _no_stack
        if stack is None and self._ask_for_stack(client, note, refusal, operation):
            return None
        if may_ask and self._ask(client, note, refusal, operation, stack or _no_stack):
            return None
        self._answer_refusal(client, note, refusal, operation, stack or _no_stack)
        return None

    def _ask_for_stack(self, client: Client, note: Notification, refusal: Refused, operation: str) -> bool:
        """Interrupt the call: its thread writes its stack, and calls again."""
        if client.stacks is None or client.stack_wait is not None or client.is_without_stack(_key(note)):
            return False
        client.stacks.drop()
        try:
            kernel.tgkill(client.tasks.who(note.tid).tgid, note.tid, _STACK_SIGNAL)
        except OSError:
            return False
        client.stack_wait = StackWait(_key(note), note, refusal, operation, monotonic() + _STACK_S)
        self._stack_waits.append(client)
        self._loop.hold(client, on=True)
        return True

    def _ask(self, client: Client, note: Notification, refusal: Refused, operation: str, stack: Stack) -> bool:
        if sum(pending.client is client for pending in self._pending.values()) >= _ASKS_MAX:
            return False
        if carried(refusal.path) != refusal.path:  # what would be asked for is not what would be opened
            return False
        self._token += 1
        deadline = monotonic() + client.ask_timeout_s
        self._pending[self._token] = Pending(client, note, operation, refusal, stack(), deadline)
        pid = client.tasks.pid(note.tid)
        self._sink(Ask(self._token, client.child_id, pid, operation, refusal.path, refusal.access))
        return True

    def _answer_refusal(
        self, client: Client, note: Notification, refusal: Refused, operation: str, read_stack: Stack
    ) -> None:
        pid = client.tasks.pid(note.tid)
        client.listener.wake_here(False)
        code = self._fail(client, note, refusal)
        client.listener.wake_here(True)
        stack = read_stack()
        act = Act(
            client.child_id, pid, False, operation, note.number, tuple(map(signed_64, note.args)),
            carried(refusal.path), refusal.access, code, stack, 1, refusal.detail,
        )  # fmt: skip
        client.teller.tell((note.number, refusal.path, False), act)

    def _fail(self, client: Client, note: Notification, refusal: Refused) -> int:
        code = refusal.errno
        if not code:
            code = ENOENT if client.is_child else client.errnos.get(note.number, EACCES)
            if code == ENOENT and refusal.access & ~(STAT | READ):  # what is not granted is not there, for looking only
                code = EACCES
        client.refused += 1
        client.listener.fail(note.id, code)
        self._flush_at = self._flush_at or monotonic() + _FLUSH_S
        return code

    def _tell_granted(
        self, client: Client, note: Notification, request: Request, done: tuple[str, int], errno: int = 0
    ) -> None:
        key = (note.number, done[0], True)
        if client.teller.is_first(key):
            act = Act(
                client.child_id, client.tasks.pid(note.tid), True, request.operation, note.number,
                tuple(map(signed_64, note.args)), carried(done[0]), done[1], errno,
            )  # fmt: skip
            client.teller.tell(key, act)
        self._flush_at = self._flush_at or monotonic() + _FLUSH_S

    def _tick(self, now: float) -> None:
        for client in list(self._stack_waits):
            wait = client.stack_wait
            if wait is not None and wait.deadline <= now:
                self._no_longer(client)
                client.go_without_stack(wait.key)
                if client.listener.is_valid(wait.note.id):  # it does not hear the signal
                    self._answer_refusal(client, wait.note, wait.refusal, wait.operation, _no_stack)
        for token, pending in list(self._pending.items()):
            if pending.deadline <= now:
                self._overdue(token, pending, now)
        if self._flush_at and self._flush_at <= now:
            self.tell()

    def tell(self) -> None:
        """What was counted."""
        self._flush_at = 0.0
        for client in self._by_id.values():
            client.teller.flush()

    def _no_longer(self, client: Client) -> None:
        client.stack_wait = None
        self._stack_waits.remove(client)
        self._loop.hold(client, on=False)

    def _overdue(self, token: int, pending: Pending, now: float) -> None:
        """No answer is a no; a helper goes on as long as somebody waits for it."""
        if pending.refusal is not None:
            self.answer(token, allow=False)
        elif pending.client.listener.is_valid(pending.note.id):
            self._pending[token] = msgspec.structs.replace(pending, deadline=now + _FLUSH_S)
        else:
            self._waiting.cancel(token)
            del self._pending[token]


def _no_stack() -> tuple[str, ...]:
    return ()


def _key(note: Notification) -> tuple[int, ...]:
    return (note.tid, note.number, note.ip, *note.args)
