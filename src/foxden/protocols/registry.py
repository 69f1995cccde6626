"""All protocols by name: what the docs, the fuzzers and the process table look them up in.

Runs in: every process that needs the whole list (parent, tools, tests); pure.
Source: the declarations themselves; a test keeps this list complete.
"""

from foxden.ipc.schema import Protocol
from foxden.protocols.broker import PBroker
from foxden.protocols.content import PContent, PDocument, PDocumentChannel
from foxden.protocols.forkserver import PForkServer, PStarter
from foxden.protocols.network import (
    PBackgroundData,
    PHttpTransaction,
    PSocketProcess,
    PSocketProcessBridge,
)
from foxden.protocols.plugin import PPlugin
from foxden.protocols.process import PChildProcess
from foxden.protocols.unittest import PIPDLUnitTest, PTestActor, PTestBridge, PTestLeaf
from foxden.protocols.utility import PTasks, PUtility

PROTOCOLS: tuple[type[Protocol], ...] = (
    PChildProcess,
    PStarter,
    PForkServer,
    PSocketProcess,
    PHttpTransaction,
    PSocketProcessBridge,
    PBackgroundData,
    PContent,
    PDocument,
    PDocumentChannel,
    PBroker,
    PPlugin,
    PUtility,
    PTasks,
    PIPDLUnitTest,
    PTestActor,
    PTestLeaf,
    PTestBridge,
)

BY_NAME: dict[str, type[Protocol]] = {protocol.__name__: protocol for protocol in PROTOCOLS}
