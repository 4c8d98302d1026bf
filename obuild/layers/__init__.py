"""Layers: tar archives into trees, trees into tar archives, and trees away.

Decisions:

- **One extractor** (``extract``) for layers of images, imports, caches and copies. Directories
  are opened one below the other and never through a link (``folders``); a link on the way is
  refused, or followed as if the root were the system's. No file is opened that was there.
- **An own reader of archives** (``members``), over the standard library's: names and links are
  bytes, limits hold before memory is taken, and a cut or continued archive is an error. The
  tests hold it equal to ``tarfile`` and to GNU tar.
- **Nothing is left out in silence**: what cannot be made is an error, or a sentence in
  ``Extracted.skipped``.
- **Same tree, same bytes** (``pack``): members in the order of their bytes, times in whole
  seconds as Docker, BuildKit and containerd write them, holes written out (where a file has
  holes is the file system's choice), no names of users.
- zstd comes from the standard library where it has it (Python 3.14), else from ``zstandard``.
"""

from obuild.layers.errors import ArchiveError
from obuild.layers.extract import extract
from obuild.layers.extraction import Extracted, Extraction, Links, Whiteouts
from obuild.layers.members import Limits
from obuild.layers.pack import Digested, Form, Packing, gzipped, pack
from obuild.layers.remove import remove, remove_content

__all__ = [
    "ArchiveError",
    "Digested",
    "Extracted",
    "Extraction",
    "Form",
    "Limits",
    "Links",
    "Packing",
    "Whiteouts",
    "extract",
    "gzipped",
    "pack",
    "remove",
    "remove_content",
]
