"""Brings the loopback interface up: a new network namespace has it down.

Run as a program by ``serve.sh``; not every machine has the ``ip`` command.
"""

from __future__ import annotations

import fcntl
import socket
import struct

__all__ = ["bring_up"]

# From linux/sockios.h and linux/if.h.
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def bring_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))


if __name__ == "__main__":
    bring_up()
