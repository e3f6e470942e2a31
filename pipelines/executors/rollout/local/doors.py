"""The listening sockets of the environments' ports: made here, handed to the router, closed to customers until the
router knows its routes.

A router that has just started answers 404 to everybody for a moment. So the kernel is told to overlook who knocks until
then: a customer's own kernel knocks again a second later, and nobody is refused or sent away.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress

_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_BACKLOG = 4096
# One instruction of the kernel's packet filter: return 0, which lets nothing of a packet through.
_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)


class DoorError(Exception):
    """A port cannot be used; the message says which, why, and what to do."""


class Doors:
    """By environment. Whoever starts the router passes `descriptors` on and lets customers in. It holds the sockets
    for as long as the router runs: when that is killed, customers wait instead of being refused, until `close`.
    `waiting` names those that are not open yet."""

    def __init__(self, ports: Mapping[str, int], listen: str) -> None:
        """Raises DoorError."""
        self.sockets: dict[str, socket.socket] = {}
        self.waiting: set[str] = set()
        for name, port in sorted(ports.items()):
            try:
                self.sockets[name] = _closed_door(listen, port)
                self.waiting.add(name)
            except OSError as error:
                self.close()
                raise DoorError(
                    f"port {port} of the environment {name} cannot be used on {listen}: {error.strerror}. "
                    "Stop the program that has it, or set another port base."
                ) from None

    @property
    def descriptors(self) -> dict[str, int]:
        return {name: door.fileno() for name, door in self.sockets.items()}

    def open(self, name: str) -> None:
        """Let customers in, from now on."""
        self.waiting.discard(name)
        with suppress(OSError):
            self.sockets[name].setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)

    def close(self) -> None:
        """Give up our share of them."""
        for door in self.sockets.values():
            door.close()
        self.sockets.clear()


def _closed_door(listen: str, port: int) -> socket.socket:
    door = socket.socket(socket.AF_INET6 if ":" in listen else socket.AF_INET)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((listen, port))
        code = ctypes.create_string_buffer(_NOTHING)
        # Before anybody can knock. Where it is not possible, it is no reason to serve nobody.
        with suppress(OSError):
            door.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(code)))
        door.listen(_BACKLOG)
    except OSError:
        door.close()
        raise
    return door
