"""The intermediate representation: ops, stages and builds; steps; the manifest; printing.

Both front ends lower into this one form. It prints as an s-expression, and what is printed
reads back as the same value. An extension of OBuilder's language appears in the text, and in
a key, only where it is used, so a build that uses none prints as a spec of OBuilder's.
"""

__all__: list[str] = []
