"""The image that is copied from, made by hand: Debian with files in it."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.builds import QUARRY
from tests.setup import client, images

__all__ = ["LARGE", "quarry"]

LARGE = 5_000_000_000
"""The bytes of the large file."""

_MAKE_LARGE = f"truncate -s {LARGE} /large; printf end >> /large"


@contextmanager
def quarry(host: str, folder: Path, tree: Path | None) -> Iterator[None]:
    """While this is open, the engine has ``QUARRY`` with the tree as ``/tree``, or without one
    a large sparse file as ``/large``."""
    images.ensure_debian(host)
    api = client.connect(host)
    command = ["sh", "-c", _MAKE_LARGE if tree is None else "true"]
    container = api.create_container(images.DEBIAN, command)["Id"]
    try:
        if tree is not None:
            archive = folder / "quarry.tar"
            with tarfile.open(archive, "w") as packed:
                packed.add(tree, "tree")
            with archive.open("rb") as packed_tree:
                api.put_archive(container, "/", packed_tree)
            archive.unlink()
        else:
            api.start(container)
            api.wait(container)
        api.timeout = 600
        api.commit(container, repository=QUARRY, tag="latest")
    finally:
        api.remove_container(container, v=True)
    try:
        yield
    finally:
        api.remove_image(QUARRY, force=True)
        api.close()
