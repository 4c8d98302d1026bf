"""Who a store is: its prefix in the engine, the machine it is used from."""

from __future__ import annotations

import os

__all__ = ["hashed", "host_name", "prefix_of", "read_machine_id"]


def prefix_of(real_path: str) -> str:
    """The prefix of all engine objects of the store at ``real_path`` (golden: ``prefix/``).

    ``obuilder-`` and the first 7 hex digits of the sha256 of the path's bytes.
    """
    from hashlib import sha256

    return f"obuilder-{sha256(os.fsencode(real_path)).hexdigest()[:7]}"


def hashed(machine_id: bytes) -> str:
    """An id made of ``machine_id`` that does not give it away, 32 hex digits.

    machine-id(5) asks that the id itself be shown to nobody, only a hash of it that is keyed
    by the application.
    """
    from hashlib import blake2b

    return blake2b(machine_id, key=b"obuild store owner", digest_size=16).hexdigest()


def read_machine_id(file: str = "/etc/machine-id") -> bytes | None:
    """The machine's own id, 32 hex digits, None if it has none (yet) or it is not for us."""
    try:
        with open(file, "rb") as opened:
            found = opened.read(64).strip()
    except OSError:  # as good as no id: the caller has another way
        return None
    return found if len(found) == 32 and not found.strip(b"0123456789abcdef") else None


def host_name() -> bytes:
    """What stands for a machine's id where it has none. A store keeps what it began with, so
    that it may move; one that lost its database finds its objects by the same name again."""
    return os.fsencode(os.uname().nodename)
