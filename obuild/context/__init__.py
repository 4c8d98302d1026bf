"""The build context: the user's source folder, its manifests, and the tar streams of copies.

Decisions:

- **Names are bytes.** Inside this package names are what the kernel gives; at its border they
  are strings by the rule of ``obuild.source.decode``.
- **Nothing is reached through a link.** Every folder is opened relative to the one above it
  with ``O_NOFOLLOW`` (``folders``), when the manifest is made and again when the files are
  sent. A folder that is swapped for a symbolic link meanwhile cannot lead out of the context:
  opening it fails.
- **A manifest is made in two passes.** The first only looks (names, kinds, digests known to
  the stat cache), so a socket or a misspelt source is refused before gigabytes are read. The
  second reads what is not known, small files one after the other, large ones in threads.
- **What is sent is what was hashed.** ``ContextFiles`` hashes every byte as it passes and
  stops with an error where the file is no longer the manifest's, so a key never stands for
  other files than those in the image.
- **Tar headers are our own** (``headers``): bytes in, 512 bytes out, five times faster than
  the standard library's and without its import. The tests hold them equal to it.
- The messages of refused sources are OBuilder's, word for word; hints are ours.
"""

from obuild.context.build_context import BuildContext
from obuild.context.digests import DigestCache, NoDigestCache, StatKey
from obuild.context.files import ContextFiles

__all__ = ["BuildContext", "ContextFiles", "DigestCache", "NoDigestCache", "StatKey"]
