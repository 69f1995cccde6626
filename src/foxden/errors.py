"""Every exception that foxden raises to its users.

FoxdenError
├── SandboxUnavailable      the kernel gave less than the policy asks, and the caller did not accept it
├── PolicyError             a policy text is wrong, or asks for two things at once
├── ChildCrashed            a child ended before its work was done
│   └── LaunchFailed        … before it was ready: which step, which errno
├── ChildTimeout            a child did not answer before its deadline and was ended
│   └── CallTimeout         … a function's call; also a TimeoutError
├── ArgumentsNotSendable    a function or its arguments cannot be sent to a worker; also a TypeError
├── ResultNotData           what a function returned is not data, or too much of it; also a TypeError
├── RemoteError             a function raised what is none of Python's own exceptions; also a ValueError … as that was
├── RemoteTraceback         the `__cause__` of an exception that came from a worker: its traceback there, as text
├── WorkersBroken           no worker can be started, or its initializer failed; also a BrokenExecutor
├── NetworkError            a load or a fetch failed on the network; `.code` in NS_ERROR_… / SSL_ERROR_… names
├── LoadError               a page or file could not be loaded for a reason that is not the network's
├── BadMessage              the peer broke a protocol: it is ended
├── ProtocolMisuse          our own side broke a protocol: a bug in foxden
└── DenClosed               the den is closed, or closing

Runs in: every process, and so imports nothing; WorkersBroken, which needs concurrent.futures, is in workers_broken.
Source: docs/reference/errors.md is made from this module.
"""

from __future__ import annotations

_HINT = "hint: "


class FoxdenError(Exception):
    """Base of all errors.  `hint` is one line that says what to do, or empty; tracebacks show it below the message."""

    _hint = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def hint(self) -> str:
        return self._hint

    @hint.setter
    def hint(self, text: str) -> None:
        if self._hint:
            self.__notes__ = notes_of(self)
        self._hint = text
        if text:
            self.add_note(_HINT + text)

    def __reduce__(self) -> tuple[object, ...]:
        """Made again without __init__, whose arguments are not all in `args`: with what it has, notes among that."""
        notes = list(getattr(self, "__notes__", ()))
        return _made_again, (type(self), self.args), {**self.__dict__, "__notes__": notes}


def _made_again(kind: type[FoxdenError], arguments: tuple[object, ...]) -> FoxdenError:
    error = kind.__new__(kind)
    error.args = arguments
    return error


def notes_of(error: BaseException) -> list[str]:
    """Its notes, but for its own hint: for whoever shows that in another way."""
    notes: list[str] = list(getattr(error, "__notes__", ()))
    if isinstance(error, FoxdenError) and error.hint and _HINT + error.hint in notes:
        notes.remove(_HINT + error.hint)
    return notes


class SandboxUnavailable(FoxdenError):
    """A layer that the policy asks for is not to be had.  `layers`: their names."""

    def __init__(self, message: str, *, layers: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.layers = layers


class PolicyError(FoxdenError):
    """A policy text is wrong.  The message names the file, the key and the value."""


class ChildCrashed(FoxdenError):
    """A child process ended by itself.  `pid`, `process_type`; `signal` or `exit_code` where known."""

    def __init__(
        self,
        message: str,
        *,
        pid: int = 0,
        process_type: str = "",
        signal: int | None = None,
        exit_code: int | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.pid = pid
        self.process_type = process_type
        self.signal = signal
        self.exit_code = exit_code


class LaunchFailed(ChildCrashed):
    """A child did not become ready.  The message names the step and the errno."""


class ChildTimeout(FoxdenError):
    """A child did not answer before its deadline, and was ended."""


class CallTimeout(ChildTimeout, TimeoutError):
    """A function did not return before its deadline, or used more processor time than a call may.  Its worker was
    ended, and another takes its place.  `limit`: which it was, `timeout` or `cpu-time`."""

    def __init__(self, message: str, *, limit: str = "timeout", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.limit = limit


class ArgumentsNotSendable(FoxdenError, TypeError):
    """A function or its arguments cannot be sent to a worker.  Nothing was sent."""


class ResultNotData(FoxdenError, TypeError):
    """What a function returned is not data, or is too large, too deep or cyclic.  The message names the place."""


class RemoteError(FoxdenError):
    """A function raised an exception whose type is not one of Python's own.

    `type_name`: module and name of the type, as the worker says.  `remote_traceback`: text; untrusted, like all of it.
    It is also one of Python's own exceptions, the nearest that the worker's is derived from: of a JSONDecodeError comes
    a RemoteError that `except ValueError` catches.  What it had besides its text (`.errno`, `.pos`) does not come.
    """

    def __init__(self, message: str, *, type_name: str = "", remote_traceback: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.type_name = type_name
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError, OSError and SyntaxError have a way of their own


_remote_error_types: dict[type[Exception], type[RemoteError]] = {}


def remote_error_type(base: type[Exception]) -> type[RemoteError]:
    """The RemoteError that is also a `base`, one of Python's own; made once."""
    if base is Exception:
        return RemoteError
    while issubclass(base, UnicodeError) and base is not UnicodeError:
        base = base.__base__  # type: ignore[assignment]  # those below are made from parts that are not there
    found = _remote_error_types.get(base)
    if found is None:
        words = {"__module__": __name__, "__qualname__": "RemoteError", "__doc__": RemoteError.__doc__,
                 "__reduce__": lambda self: (_remake, (base, self.args, self.__dict__))}  # fmt: skip
        found = _remote_error_types[base] = type("RemoteError", (RemoteError, base), words)
    return found


def _remake(base: type[Exception], arguments: tuple[str, ...], words: dict[str, object]) -> RemoteError:
    """A copy, where one is pickled by its owner."""
    made = remote_error_type(base)(*arguments)
    made.__dict__.update(words)
    return made


class RemoteTraceback(FoxdenError):
    """The traceback of an exception in a worker, as text: it stands as the `__cause__` of the exception here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class NetworkError(FoxdenError):
    """The network part of a load failed.  `code`: an NS_ERROR_… or SSL_ERROR_… name; `url`: the hop that failed."""

    def __init__(self, message: str, *, code: str, url: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.url = url


class LoadError(FoxdenError):
    """A page or file could not be loaded.  `code`: one of the names in `model/load_errors`."""

    def __init__(self, message: str, *, code: str, url: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.url = url


class BadMessage(FoxdenError):
    """A peer sent what its protocol does not allow.  The text names protocol, message and field."""


class ProtocolMisuse(FoxdenError):
    """foxden's own side broke a protocol.  A bug: please report it."""


class DenClosed(FoxdenError):
    """The den is closed: nothing more can be asked of it."""
