"""The files of secrets as the daemon takes them: mounts and tar streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from obuild.engine.docker.mounts import volume_mount
from obuild.engine.secretfiles import SecretFile
from obuild.errors import BuildError

__all__ = ["folder_mounts", "members"]


def folder_mounts(volume: str, files: Sequence[SecretFile]) -> list[dict[str, Any]]:
    """For Windows guests, which cannot mount a file: the volume becomes the folder of the
    targets. Raises ``BuildError`` unless that is one folder."""
    folders = {secret.split[0] for secret in files}
    if len(folders) > 1:
        raise BuildError(
            f"on Windows the secrets of a run must be in one folder, not in {sorted(folders)}",
            hint="choose targets in one folder that the image does not have",
        )
    return [volume_mount(volume, folder, read_only=True) for folder in folders]


def members(folder: str, files: Iterable[tuple[str, SecretFile]]) -> Iterator[bytes]:
    """A tar archive of files, by their names in ``folder``."""
    import tarfile

    for name, secret in files:
        member = tarfile.TarInfo(f"{folder}/{name}".strip("/"))
        member.size, member.mode = len(secret.value), secret.mode
        member.uid, member.gid = secret.uid, secret.gid
        yield member.tobuf(tarfile.GNU_FORMAT)
        yield secret.value
        yield bytes(-member.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)
