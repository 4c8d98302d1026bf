"""OBuilder specs to the IR: shapes of ops, and which builds a copy may name.

What is valid and what is refused follows OBuilder 0.7 (its ``lib_spec``); the words are ours.
An op's name may begin with a capital; its fields then stand in a list of their own, which is
how the language's generated reader takes them.
"""

from obuild.frontend.obuilder.spec import read_spec

__all__ = ["read_spec"]
