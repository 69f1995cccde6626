"""Case 109: connects to its own servers: many at once, and some that nobody takes.  Prints what came of each."""

import json
import os
import socket
import sys
import tempfile
import threading
import time

AT_ONCE = 100
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(4096)
address = server.getsockname()
found = {"errors": []}


def accept():
    while True:
        connection, _ = server.accept()
        connection.send(b"x")
        connection.close()


def connect(barrier):
    barrier.wait()
    try:
        with socket.create_connection(address, 20) as sock:
            if sock.recv(1) != b"x":
                found["errors"].append("closed")
    except OSError as error:
        found["errors"].append(str(error))


def wait_for_nobody(full):
    sock = socket.socket()
    sock.connect(full)


threading.Thread(target=accept, daemon=True).start()
barrier = threading.Barrier(AT_ONCE)
threads = [threading.Thread(target=connect, args=(barrier,)) for _ in range(AT_ONCE)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
full = socket.socket()
full.bind(("127.0.0.1", 0))
full.listen(0)
for _ in range(20):
    threading.Thread(target=wait_for_nobody, args=(full.getsockname(),), daemon=True).start()
time.sleep(0.3)
began = time.monotonic()
with tempfile.TemporaryFile("w") as file:
    file.write("x")
with socket.create_connection(address, 20) as sock:
    found["beside"] = sock.recv(1).decode()
found["took_s"] = time.monotonic() - began
lingering = socket.create_connection(address, 20)
lingering.close()
not_blocking = socket.socket()
not_blocking.setblocking(False)
found["not blocking"] = not_blocking.connect_ex(address)
bound = socket.socket()
bound.bind(("127.0.0.1", 0))
bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
name = bound.getsockname()
bound.connect(address)
found["stays what it is"] = (
    bound.getsockname() == name and bound.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
)
print(json.dumps(found))
sys.stdout.flush()
os._exit(0)
