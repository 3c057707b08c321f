"""A user-space UDP relay in front of a server: each viewer has a path of its own, whose rate towards it can be set.

    relay.py --viewers N PORT...          (the server's UDP ports on 127.0.0.1)

Prints {"relays": [{server port: relay port, ...} for each viewer]}, then takes JSON lines: {"viewer": N, "kbps": rate or null}
sets the rate of a path. A path is a queue of QUEUE_MS at its rate,
behind it a constant delay; what does not fit is dropped at the tail, whatever it is.
"""

import argparse
import heapq
import itertools
import json
import os
import selectors
import socket
import sys
import time

QUEUE_MS = 250
DELAY_S = 0.01
DATAGRAM = 2048
BUFFER = 1 << 20


def bind() -> socket.socket:
    """A UDP socket on a free port of this machine."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


class Path:
    """The way towards one viewer: a bucket that empties at the rate."""

    def __init__(self):
        self.kbps: float | None = None
        self.free_at = 0.0

    def leaves(self, now: float, size: int) -> float | None:
        """When a datagram of `size` bytes is through, or None where the queue is full."""
        if self.kbps is None:
            self.free_at = now
            return now
        begin = max(now, self.free_at)
        if (begin - now) * 1000 > QUEUE_MS:
            return None
        self.free_at = begin + size * 8 / (self.kbps * 1000)
        return self.free_at


class Relay:
    """All viewers' sockets and what is on the way."""

    def __init__(self, viewers: int, ports: list[int]):
        self.selector = selectors.DefaultSelector()
        self.paths = [Path() for _ in range(viewers)]
        self.pending: list[tuple] = []
        self.order = itertools.count()
        self.relays = []
        self.rest = b""
        for path in self.paths:
            relays = {}
            for port in ports:
                front = bind()
                # Towards the server, one socket for each address that the viewer sends from.
                self.selector.register(front, selectors.EVENT_READ, ("front", front, path, ("127.0.0.1", port), {}))
                relays[port] = front.getsockname()[1]
            self.relays.append(relays)
        self.selector.register(sys.stdin, selectors.EVENT_READ, ("command",))

    def later(self, at: float, sock: socket.socket, data: bytes, to: tuple) -> None:
        """Sends a datagram at a time."""
        heapq.heappush(self.pending, (at + DELAY_S, next(self.order), sock, data, to))

    def receive(self, now: float, kind: str, sock: socket.socket, *about) -> None:
        """Takes all datagrams of a socket in."""
        while True:
            try:
                data, source = sock.recvfrom(DATAGRAM)
            except (BlockingIOError, ConnectionRefusedError):
                return
            if kind == "front":
                path, server, backs = about
                if source not in backs:
                    backs[source] = back = bind()
                    self.selector.register(back, selectors.EVENT_READ, ("back", back, path, sock, source))
                self.later(now, backs[source], data, server)
            else:
                path, front, viewer = about
                at = path.leaves(now, len(data))
                if at is not None:
                    self.later(at, front, data, viewer)

    def commands(self) -> bool:
        """Carries the lines out that stdin has; False at its end."""
        data = os.read(sys.stdin.fileno(), 65536)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            asked = json.loads(line)
            self.paths[asked["viewer"]].kbps = asked["kbps"]
        return bool(data)

    def run(self) -> None:
        """Relays until stdin ends."""
        print(json.dumps({"relays": self.relays}), flush=True)
        while True:
            left = self.pending[0][0] - time.monotonic() if self.pending else None
            for key, _ in self.selector.select(max(left, 0) if left is not None else None):
                if key.data[0] == "command":
                    if not self.commands():
                        return
                else:
                    self.receive(time.monotonic(), *key.data)
            while self.pending and self.pending[0][0] <= time.monotonic():
                _, _, sock, data, to = heapq.heappop(self.pending)
                try:
                    sock.sendto(data, to)
                except (BlockingIOError, ConnectionRefusedError):
                    pass  # as a path does with what it has no room for


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=1)
    parser.add_argument("ports", type=int, nargs="+")
    args = parser.parse_args()
    Relay(args.viewers, args.ports).run()
