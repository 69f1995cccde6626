"""How processes speak: declarations (schema), packets (codec), actors, and the pipes under them.

`schema`, `fields` and `codec` are pure; `actor` routes without doing I/O of its own; `pipe`, `aio` and
`blocking` are the sockets.  Protocols themselves are declared in `foxden.protocols`, never here.
"""
