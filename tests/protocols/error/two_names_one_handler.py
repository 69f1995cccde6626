# error: PBad.OnHttpData: recv_on_http_data is another message's
from __future__ import annotations

from foxden.ipc.schema import Protocol, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class OnHTTPData(ToChild):
        pass

    class OnHttpData(ToChild):
        pass
