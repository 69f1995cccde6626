"""Programs: the parent says what to execute; what becomes of it is said on a control socket of its own.

Ends: parent ↔ the init of a program.  Trusts: the init believes its parent; the parent reads five-byte words from it.
Source: Gecko's NPAPI plug-ins had a process type of their own (PluginModule); launch/control for the words.
"""

from typing import Annotated

from msgspec import Meta

from foxden.ipc.fields import Endpoint, Name, Payload, Stream
from foxden.ipc.schema import ToChild
from foxden.protocols.process import PChildProcess

_Bytes = Annotated[bytes, Meta(min_length=1, max_length=4096)]


class PPlugin(PChildProcess, number=17, ends=("default", "plugin")):
    """One program and all that it starts."""

    class Start(ToChild, once=True):
        """Execute it, if your sandbox has all that is asked.  From here on nothing is read from this pipe: its end ends
        the program."""

        control: Endpoint  # launch/control
        arguments: Payload  # each followed by NUL
        environment: Payload  # NAME=VALUE, each followed by NUL
        cwd: _Bytes
        stdin: Stream
        stdout: Stream
        stderr: Stream
        accepted: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()  # layers that may be missing
