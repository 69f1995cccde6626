"""A program's own servers: reached as without a sandbox, and none of it holds up the broker."""

from __future__ import annotations

import errno
import json
import signal
import socket
import time

from tests.attack.run.ground import PYTHON, Ground, program


def test_connects_to_own_servers_are_as_without_a_sandbox_and_hold_up_nobody(ground: Ground) -> None:
    """Case 109: a hundred at once, twenty that wait for ever, one that does not block, one that was bound before."""
    began = time.monotonic()
    done = ground.run(PYTHON, program("connects.py"))
    found = json.loads(done.stdout)
    alone = json.loads(ground.alone(PYTHON, program("connects.py")).stdout)
    for each in (found, alone):
        assert each["errors"] == []
        assert each["beside"] == "x"
        assert each["took_s"] < 5
        assert each["not blocking"] == errno.EINPROGRESS
        assert each["stays what it is"] is True
    assert done.violations == []
    assert time.monotonic() - began < 30, "what waited is let go when the program ends"


def test_host_socket_handed_over_as_a_stream_is_not_connected(ground: Ground) -> None:
    """Case 112: a socket of the host's network stays what it is, whatever the program asks for."""
    port = ground.serve()
    script = (
        "import socket\n"
        "sock = socket.socket(fileno=0)\n"
        f"try: sock.connect(('127.0.0.1', {port})); print('connected')\n"
        "except OSError as error: print(type(error).__name__, error.errno)\n"
    )
    with socket.socket() as given:
        done = ground.run(PYTHON, "-c", script, stdin=given.fileno())
    assert done.stdout == f"OSError {errno.ENETUNREACH}\n", done.stderr
    with socket.socket() as given:
        given.connect(("127.0.0.1", port))


def test_policy_file_gives_one_socket_of_the_host_and_no_other(ground: Ground) -> None:
    """Case 109, the other way round: what is granted is there."""
    ground.serve()
    policy = ground.base / "policy.toml"
    policy.write_text(f'[files]\n"{ground.base}/s.sock" = "connect"\n')
    script = (
        "import socket, sys\n"
        "for path in sys.argv[1:]:\n"
        "    try: socket.socket(socket.AF_UNIX).connect(path); print('connected')\n"
        "    except OSError as error: print(type(error).__name__)\n"
    )
    paths = [f"{ground.base}/s.sock", f"{ground.ro}/host.sock", f"{ground.rw}/host.sock"]
    done = ground.run(PYTHON, "-c", script, *paths, options=["--policy", str(policy)])
    assert done.stdout.split() == ["connected", "PermissionError", "PermissionError"], done.stderr
    (record, *_) = done.records(operation="connect", path=paths[1])
    assert '= "connect"' in record["hint"]


def test_killing_a_program_that_waits_in_a_connect_ends_at_once(ground: Ground) -> None:
    script = (
        "import socket, threading, time\n"
        "full = socket.socket(); full.bind(('127.0.0.1', 0)); full.listen(0)\n"
        "def wait(): socket.socket().connect(full.getsockname())\n"
        "for _ in range(60): threading.Thread(target=wait, daemon=True).start()\n"
        "time.sleep(60)\n"
    )
    began = time.monotonic()
    done = ground.run(PYTHON, "-c", script, options=["--timeout", "1"])
    assert done.code == 124
    assert done.said["signal"] in (None, int(signal.SIGKILL))
    assert time.monotonic() - began < 10
