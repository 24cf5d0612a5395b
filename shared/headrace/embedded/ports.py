"""Loopback ports."""

import socket
from contextlib import ExitStack

HOST = "127.0.0.1"
"""Everything listens here and nowhere else."""


def reserve_ports(count: int) -> list[int]:
    """Loopback ports, all different, that nobody is given for the next minute but a server that asks for them.

    A connection to itself leaves each in TIME_WAIT: the kernel then picks it for no one, while a server, which sets
    SO_REUSEADDR, may bind it. A server that asks for the number by itself can still come first.
    """
    ports: dict[int, None] = {}
    with ExitStack() as held:
        while len(ports) < count:
            ports[_reserve(held)] = None
    return list(ports)


def _reserve(held: ExitStack) -> int:
    with socket.socket() as listener:
        # What waits in TIME_WAIT keeps this; without it the server could not bind either.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, 0))
        listener.listen(1)
        port = int(listener.getsockname()[1])
        ours = socket.create_connection((HOST, port))
        accepted, _ = listener.accept()
    # Closed first on the side that has the port as its own: that side waits.
    held.callback(ours.close)
    held.callback(accepted.close)
    return port


def answers(port: int) -> bool:
    """Whether something listens on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0
