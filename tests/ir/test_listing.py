"""Reading manifests back, and refusing what no manifest of a real tree says."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from obuild.ir.listing import read_manifest
from obuild.ir.manifest import Attributes, Dir, File, Manifest, Symlink, walk, write_manifest
from obuild.source import decode

DIGEST = "0" * 64

names = st.one_of(
    st.sampled_from([b"a", b"b.c", b"a b", b"#|", b"|#", b"|", b'"', b"\\", b"\n", b"\xff", b";"]),
    st.binary(min_size=1, max_size=8),
).filter(lambda n: b"/" not in n and b"\0" not in n and n not in (b".", b".."))
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
targets = st.binary(min_size=1, max_size=20).map(lambda t: t.replace(b"\0", b"0")).map(decode)
ids = st.integers(0, 2**32 - 1)
owners = st.builds(Attributes, st.integers(0, 0o7777), ids, ids)


@st.composite
def manifests(draw: st.DrawFn, attributes: bool) -> Manifest:
    owner = owners if attributes else st.none()

    def node(path: str, depth: int) -> Manifest:
        kind = draw(st.sampled_from(["file", "link", "dir"] if depth else ["file", "link"]))
        its = draw(owner)
        if kind == "file":
            executable = its is not None and bool(its.mode & 0o111)
            return File(path, draw(digests), executable, attributes=its)
        if kind == "link":
            return Symlink(path, draw(targets), attributes=its)
        return folder(path, depth - 1)

    def folder(path: str, depth: int) -> Dir:
        prefix = f"{path}/" if path else ""
        inside = sorted(draw(st.sets(names, max_size=4)))
        items = tuple(node(prefix + decode(name), depth) for name in inside)
        return Dir(path, items, attributes=draw(owner))

    top = "/".join(map(decode, draw(st.lists(names, max_size=2))))
    return node(top, 3) if top else folder("", 3)


def everything(manifest: Manifest) -> list[object]:
    """What equality leaves out."""
    return [
        (node.path, node.attributes, isinstance(node, File) and node.executable)
        for node in walk(manifest)
    ]


@given(st.booleans().flatmap(lambda a: st.tuples(st.just(a), manifests(a))))
@example((False, Dir("", ())))
def test_what_is_written_reads_back(case: tuple[bool, Manifest]) -> None:
    attributes, manifest = case
    read = read_manifest(write_manifest(manifest, attributes=attributes).encode())
    assert read == manifest
    assert everything(read) == everything(manifest)


@given(manifests(True), st.integers(0, 10**6), st.binary(max_size=3))
def test_a_changed_line_is_refused_or_says_what_it_says(
    manifest: Manifest, place: int, change: bytes
) -> None:
    line = write_manifest(manifest, attributes=True).encode()
    place %= len(line)
    changed = line[:place] + change + line[place + 1 :]
    try:
        read = read_manifest(changed)
    except ValueError:
        return
    attributes = read.attributes is not None
    assert write_manifest(read, attributes=attributes).encode() == changed


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "no part of a manifest at byte 0"),
        ("(File(a))", "no part"),
        (f"(File(a {DIGEST})", "no part"),
        (f"(File(a {DIGEST}))\n", "behind the manifest"),
        (f"(File(a {DIGEST}))(File(b {DIGEST}))", "behind the manifest"),
        (f"(File(a  {DIGEST}))", "no part"),
        (f'(File("a" {DIGEST}))', "machine form"),
        (f'(File("a"{DIGEST}))', "machine form"),
        (f'(File("\\x20"{DIGEST}))', "machine form"),
        (f'(File("\\256"{DIGEST}))', "256"),
        (f"(file(a {DIGEST}))", "no part"),
        (f'(File(""{DIGEST}))', "without a name"),
        (f"(File(a {DIGEST[1:]}))", "no digest"),
        (f"(File(a {'A' * 64}))", "no digest"),
        (f"(File(a {DIGEST}0))", "no digest"),
        ('(Symlink(a""))', "link target"),
        ('(Symlink(a"x\\000"))', "link target"),
        (f'(File("a\\000"{DIGEST}))', "NUL"),
        (f"(File(/a {DIGEST}))", "no clean path"),
        (f"(File(a/ {DIGEST}))", "no clean path"),
        (f"(File(a//b {DIGEST}))", "no clean path"),
        (f"(File(../a {DIGEST}))", "no clean path"),
        ("(Dir(.()))", "no clean path"),
        ("(Dir(d(", "no part"),
        (")))", "none began"),
        ("(Dir(d())))", "behind the manifest"),
        ("(Dir(d((Dir(d())))))", "does not stand in"),
        ("(Dir(d((Dir(e())))))", "does not stand in"),
        ("(Dir(d((Dir(d/())))))", "does not stand in"),
        ("(Dir(d((Dir(d/..())))))", "does not stand in"),
        ("(Dir(d((Dir(d/a/b())))))", "does not stand in"),
        ("(Dir(d((Dir(d/b()))(Dir(d/a())))))", "wrong place"),
        ("(Dir(d((Dir(d/a()))(Dir(d/a())))))", "twice"),
        ("(Dir(d()(0755 0 0)))(", "behind"),
        ("(Dir(d()(755 0 0)))", "no part"),
        ("(Dir(d()(0788 0 0)))", "no part"),
        ("(Dir(d()(0755 00 0)))", "machine form"),
        ("(Dir(d()(0755 -1 0)))", "no part"),
        ("(Dir(d()(0755 0 4294967296)))", "no owner"),
        ("(Dir(d((Dir(d/a())))(0755 0 0)))", "without attributes"),
        ("(Dir(d((Dir(d/a()(0755 0 0))))))", "machine form"),
    ],
)
def test_what_is_refused(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_manifest(line.encode())


def test_bytes_that_need_escapes_are_refused_as_they_are() -> None:
    for byte in (b"\n", b"\xff", b"\0", b"\x7f"):
        with pytest.raises(ValueError, match=r"machine form|no part|NUL"):
            read_manifest(b'(Symlink("' + byte + b'"x))')


def test_a_deep_tree_needs_no_stack() -> None:
    path = "/".join("d" * 3000)
    tree: Manifest = File(f"{path}/f", DIGEST)
    while path:
        tree = Dir(path, (tree,))
        path = path.rpartition("/")[0]
    line = write_manifest(tree).encode()
    assert write_manifest(read_manifest(line)).encode() == line
    with pytest.raises(ValueError, match="does not stand in"):
        read_manifest(b"(Dir(a(" + b"(Dir(a/b(" * 100_000)
