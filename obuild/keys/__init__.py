"""Keys: a step to its preimage to the sha256 of it.

A preimage is an S-expression of everything that the result of a step depends on, and of
nothing else; a key is the hash of its machine form. For everything that OBuilder can express
the preimage is OBuilder's to the byte (the records that its ``lib/build.ml`` prints), so one
store serves both. What obuild adds stands behind these fields and only where it is used.
"""

from obuild.keys.preimage import (
    base_preimage,
    copy_preimage,
    kept,
    key_of,
    pinned,
    run_preimage,
    seal_preimage,
)

__all__ = [
    "base_preimage",
    "copy_preimage",
    "kept",
    "key_of",
    "pinned",
    "run_preimage",
    "seal_preimage",
]
