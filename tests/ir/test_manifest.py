"""Manifests as values: printing, walking, in any depth."""

from __future__ import annotations

import pytest

from obuild.ir.manifest import (
    Attributes,
    Dir,
    File,
    Manifest,
    Symlink,
    executables,
    walk,
    write_manifest,
)

DIGEST = "0" * 64


def test_printed_form() -> None:
    tree = Dir("d", (File("d/f", DIGEST), Symlink("d/l", "f"), Dir("d/e", ())))
    assert write_manifest(tree) == (f"(Dir(d((File(d/f {DIGEST}))(Symlink(d/l f))(Dir(d/e())))))")
    assert [node.path for node in walk(tree)] == ["d", "d/f", "d/l", "d/e"]


def test_printed_form_with_attributes() -> None:
    mine = Attributes(0o644, 5, 7)
    link = Symlink("d x/l", "f", attributes=Attributes(0o777, 0, 0))
    tree = Dir("d x", (link, File("d x/z", DIGEST, attributes=mine)), attributes=mine)
    assert write_manifest(tree, attributes=True) == (
        f'(Dir("d x"((Symlink("d x/l"f(0777 0 0)))(File("d x/z"{DIGEST}(0644 5 7))))(0644 5 7)))'
    )
    sticky = Dir("d", (), attributes=Attributes(0o1007, 0, 4294967295))
    assert write_manifest(sticky, attributes=True) == "(Dir(d()(1007 0 4294967295)))"
    assert sticky == Dir("d", ())
    with pytest.raises(ValueError, match="without attributes"):
        write_manifest(Dir("d", ()), attributes=True)


def test_executables_are_sorted_by_bytes_and_named_once() -> None:
    files = tuple(File(path, DIGEST, executable=True) for path in ("é", "z", "B"))
    tree = Dir("", (*files, File("plain", DIGEST)))
    assert executables((tree, tree)) == ("B", "z", "é")


def test_times_sizes_and_bits_are_no_part_of_the_identity() -> None:
    assert File("f", DIGEST, True, 3, 4) == File("f", DIGEST)


def test_a_deep_tree_needs_no_stack() -> None:
    tree: Manifest = File("f", DIGEST)
    for _ in range(5000):
        tree = Dir("d", (tree,))
    assert write_manifest(tree).count("Dir") == 5000
    assert sum(1 for _ in walk(tree)) == 5001
