"""Images with as many layers as Docker takes, and steps on them (design section 7)."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from secrets import token_hex
from threading import Event

import pytest
from docker import APIClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obuild.engine import Seal
from obuild.engine.docker import DockerEngine
from obuild.engine.docker.layers.flatten import joined_layer
from obuild.errors import EngineError
from obuild.ir.image import ImageConfig
from tests import engines
from tests.engine.bases import Steps, TreeFiles, key_of
from tests.setup import client, images

MOST = 124

# Pure tests: what remains of layers, against a model that applies them one after the other.

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
KINDS = st.sampled_from(["file", "file", "folder", "gone", "gone", "opaque", "link"])
LAYERS = st.lists(st.lists(st.tuples(KINDS, PATHS, PATHS), max_size=6), min_size=2, max_size=6)

State = dict[str, tuple[str, object]]
"""Path to kind and identity: equal for two names of one file."""


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LAYERS, st.integers(0, 3), st.booleans(), st.randoms(use_true_random=False))
def test_joined_layers_do_what_all_of_them_did(wished, kept, new_form, random):  # type: ignore[no-untyped-def]
    """Applied to the lower layers the joined one gives what all the upper ones gave: names,
    contents, hard links; and no whiteout is there that hides nothing."""
    layers = []
    state: State = {}
    for number, wishes in enumerate(wished):
        members = list(_members(wishes, state, number))
        layers.append(_tar(members))
        state = _applied(state, layers[-1])
    kept = min(kept, len(layers) - 1)
    lower: State = {}
    for layer in layers[:kept]:
        lower = _applied(lower, layer)

    joined = _join(layers, kept, new_form=new_form, random=random)

    assert _identified(_applied(lower, joined)) == _identified(state)
    for name in _names(joined):
        folder, _, last = name.rpartition("/")
        if last == ".wh..wh..opq":
            assert folder in lower, name
        elif last.startswith(".wh."):
            assert f"{folder}/{last[4:]}".lstrip("/") in lower, name


def test_headers_go_on_byte_for_byte() -> None:
    """Times below the second, attributes with bytes that are no UTF-8, owners beyond octal
    digits: an export would lose them."""
    plain = tarfile.TarInfo("strange")
    plain.size, plain.uid, plain.mode = 3, 2**31 - 1, 0o4755
    plain.pax_headers = {
        "mtime": "1600000000.123456789",
        "SCHILY.xattr.security.capability": "\x01\udc80\udcff",
        "SCHILY.xattr.user.note": "a\nb",
    }
    head = plain.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    device = tarfile.TarInfo("device")
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
    member = head + b"abc".ljust(512, b"\0") + device.tobuf(tarfile.PAX_FORMAT)
    other = _tar([("file", "z", "")])

    joined = _join([other, member + bytes(1024), other], 1)

    assert member in joined


def test_a_link_whose_file_is_gone_becomes_the_file() -> None:
    """The name is new, the attributes are the file's."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        file = tarfile.TarInfo("first")
        file.size, file.mode, file.mtime = 3, 0o751, 1_500_000_000.25
        file.pax_headers = {"SCHILY.xattr.user.note": "\udcff"}
        archive.addfile(file, io.BytesIO(b"abc"))
        for name in ("second", "third"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, "first"
            archive.addfile(link)
    joined = _join([_tar([("file", "z", "")]), made.getvalue(), _tar([("gone", "first", "")])], 1)
    with tarfile.open(fileobj=io.BytesIO(joined)) as archive:
        second, third = archive.getmembers()
        content = archive.extractfile(second)
        assert content is not None
        assert content.read() == b"abc"
        assert (second.name, second.mode, second.mtime) == ("second", 0o751, 1_500_000_000.25)
        assert second.pax_headers["SCHILY.xattr.user.note"] == "\udcff"
        assert (third.name, third.type, third.linkname) == ("third", tarfile.LNKTYPE, "second")


@pytest.mark.parametrize(
    "layer", [b"\x28\xb5\x2f\xfd" + bytes(600), b"no tar" * 200], ids=["zstd", "garbage"]
)
def test_layers_that_cannot_be_read_are_said(layer: bytes) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        _join([layer, _tar([("file", "z", "")])], 1)


def test_a_layer_that_is_cut_is_said() -> None:
    whole = _tar([("file", "a", ""), ("file", "b", "")])
    for end in (700, 1100, 1500):
        with pytest.raises(EngineError, match="layer"):
            _join([whole[:end], whole], 1)


def _members(
    wishes: Sequence[tuple[str, str, str]], state: State, number: int
) -> Iterator[tuple[str, str, str]]:
    """What a commit could have of these wishes: folders stand before what is in them, names
    come once, a link is one of a file of the layer, and nothing is removed that is not there."""
    done: dict[str, str] = {}
    for kind, path, target in wishes:
        parts = path.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts))]
        if path in done or any(
            done.get(folder, "folder") not in ("folder", "opaque") for folder in above
        ):
            continue
        if kind == "link" and done.get(target) != "file":
            continue
        if kind == "gone" and (path not in state or any(done.get(f) == "opaque" for f in above)):
            continue
        for folder in above:
            if folder not in done:
                done[folder] = "folder"
                yield "folder", folder, ""
        if kind == "opaque" and state.get(path, ("",))[0] != "folder":
            continue
        done[path] = kind
        if kind == "opaque":
            yield "folder", path, ""
            yield "opaque", path, ""
        else:
            yield kind, path, target


def _tar(members: Sequence[tuple[str, str, str]]) -> bytes:
    """A layer; the content of each file is its own."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for kind, path, target in members:
            folder, _, name = path.rpartition("/")
            info = tarfile.TarInfo(path)
            content = b""
            if kind == "folder":
                info.type = tarfile.DIRTYPE
                info.mtime = int(token_hex(3), 16)
            elif kind == "link":
                info.type, info.linkname = tarfile.LNKTYPE, target
            elif kind == "gone":
                info.name = f"{folder}/.wh.{name}".lstrip("/")
            elif kind == "opaque":
                info.name = f"{path}/.wh..wh..opq"
            else:
                content = token_hex(8).encode()
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def _applied(below: State, layer: bytes) -> State:
    """The model: a layer over what is there (OCI image spec, "Applying Changesets")."""
    state = dict(below)

    def remove(path: str, *, itself: bool) -> None:
        for other in list(state):
            if other.startswith(f"{path}/") or (itself and other == path):
                del state[other]

    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        members = archive.getmembers()
        for member in members:
            folder, _, name = member.name.rpartition("/")
            if name == ".wh..wh..opq":
                remove(folder, itself=False)
            elif name.startswith(".wh."):
                remove(f"{folder}/{name[4:]}".lstrip("/"), itself=True)
        for member in members:
            if member.name.rpartition("/")[2].startswith(".wh."):
                continue
            parts = member.name.split("/")
            for end in range(1, len(parts)):  # a folder whose entry comes later
                above = "/".join(parts[:end])
                if state.get(above, ("",))[0] != "folder":
                    state[above] = "folder", None
            if not (member.isdir() and state.get(member.name, ("",))[0] == "folder"):
                remove(member.name, itself=True)
            if member.isdir():
                state[member.name] = "folder", member.mtime
            elif member.islnk():
                state[member.name] = state[member.linkname]
            else:
                content = archive.extractfile(member)
                assert content is not None
                state[member.name] = "file", content.read()
    return state


def _identified(state: State) -> State:
    return dict(sorted(state.items()))


def _names(layer: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        return archive.getnames()


def _join(layers: Sequence[bytes], kept: int, *, new_form: bool = True, random=None) -> bytes:  # type: ignore[no-untyped-def]
    """The joined layer; the layers come as ``docker save`` of an old or a new daemon has them."""
    stream = _saved(layers, new_form=new_form, random=random)

    @contextmanager
    def save() -> Iterator[Iterator[bytes]]:
        yield (stream[start : start + 1000] for start in range(0, len(stream), 1000))

    layer = joined_layer(save, len(layers), kept)
    found = b"".join(layer.chunks())
    assert len(found) == layer.size
    return found


def _saved(layers: Sequence[bytes], *, new_form: bool, random) -> bytes:  # type: ignore[no-untyped-def]
    names: list[str] = []
    files: dict[str, bytes | str] = {}
    for number, layer in enumerate(layers):
        digest = sha256(layer).hexdigest()
        if new_form:
            names.append(f"blobs/sha256/{digest}")
            files[names[-1]] = gzip.compress(layer) if number % 2 else layer
        else:
            names.append(f"{number:064}/layer.tar")
            first = next((n for n, other in enumerate(layers) if other == layer), number)
            files[names[-1]] = layer if first == number else f"../{first:064}/layer.tar"
    order = list(files)
    if random is not None:
        random.shuffle(order)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in order:
            info = tarfile.TarInfo(name)
            content = files[name]
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                content = b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        manifest = json.dumps([{"Config": "c.json", "Layers": names}]).encode()
        info = tarfile.TarInfo("manifest.json")
        info.size = len(manifest)
        archive.addfile(info, io.BytesIO(manifest))
    return made.getvalue()


# On engines: a step on an image that has as many layers as there may be.


@pytest.fixture(scope="module")
def deep_image(engine_under_test: engines.Engine) -> Iterator[str]:
    """busybox under as many layers as may be below one more, with all that layers can say."""
    name = f"obuild-test/{token_hex(6)}"
    api = client.connect(engine_under_test.host)
    layers = [_only_layer(api, images.BUSYBOX), *_deep_layers(MOST - 1)]
    api.load_image(_loadable(name, layers))
    assert len(api.inspect_image(name)["RootFS"]["Layers"]) == MOST
    yield name
    api.remove_image(name)
    api.close()


def test_a_step_beyond_the_limit(
    api: APIClient, steps: Steps, prefix: str, deep_image: str
) -> None:
    """A run, a small and a large copy stand on the same files as the image has, names, kinds,
    owners, modes, times and links; and what stands on them needs no joining any more."""
    base = steps.base(deep_image)
    before = _look(api, deep_image)
    assert {"/nasty/device", "/nasty/late/kept", "/kept/b", "/opaque/b"} <= before.keys()
    assert not {"/nasty/gone", "/nasty/first", "/kept/a", "/opaque/a"} & before.keys()

    ran = steps.run(base, "touch /obuild-new; chmod 700 /nasty/empty")
    small = steps.put(base, "/obuild-new/", TreeFiles.of((b"a", b"1")))
    large = steps.put(base, "/obuild-new/", TreeFiles.of((b"a", bytes(1 << 20))), name="large")
    for key in (ran, small, large):
        image = f"{prefix}-image-{key}"
        assert len(api.inspect_image(image)["RootFS"]["Layers"]) == 26
        after = _look(api, image)
        changed = {"/", "/nasty/empty"} if key == ran else {"/"}
        for path in changed:
            del after[path]
        new = {path for path in after if path.startswith("/obuild-new")}
        assert new
        assert {p: t for p, t in after.items() if p not in new} == {
            path: told for path, told in before.items() if path not in changed
        }
    assert steps.see(steps.run(ran, "true"), "ls -d /obuild-new") == b"/obuild-new\n"


def test_the_end_of_a_long_build(
    api: APIClient, engine: DockerEngine, steps: Steps, prefix: str, deep_image: str
) -> None:
    """Restoring and sealing add no layer; the history still tells all commands."""
    base = steps.base(deep_image)
    ran = steps.run(base, "echo 1 > /obuild-new", workdir="/tmp", env=[("A", "1")])
    engine.restore(ran, base)
    seal = key_of(f"seal {ran}")
    config = ImageConfig(env=("B=2",), workdir="/w")
    engine.execute(seal, ran, Seal(base, config), lambda _: None, Event())
    found = api.inspect_image(f"{prefix}-image-{ran}")
    assert found["Config"]["Env"] == ["DEEP=1"]
    assert found["Config"]["WorkingDir"] == "/deep"
    sealed = api.inspect_image(f"{prefix}-image-{seal}")
    assert len(sealed["RootFS"]["Layers"]) == len(found["RootFS"]["Layers"]) == 26
    told = [row["CreatedBy"] for row in api.history(f"{prefix}-image-{ran}")]
    assert [f"layer {n}" for n in range(MOST)] == [w for w in reversed(told) if "layer " in w]


def test_many_runs_in_one_build(steps: Steps, deep_image: str) -> None:
    """Every run sees the files of all before it, across the joining."""
    key = steps.base(deep_image)
    for number in range(4):
        key = steps.run(
            key, f"ls /deep > /tmp/all; echo {number} > /deep/{number}; rm /deep/old{number}"
        )
    assert steps.see(key, "ls -A /deep; cat /tmp/all") == b"0\n1\n2\n3\n0\n1\n2\nold3\n"


def _deep_layers(count: int) -> Iterator[bytes]:
    """``count`` layers: files with everything, removed and replaced in later ones, so that
    some of it lies below what is joined."""
    special: dict[int, Sequence[tuple[str, str, str]]] = {
        1: [("folder", "deep", ""), *(("file", f"deep/old{n}", "") for n in range(4))],
        5: [("folder", "kept", ""), ("file", "kept/a", ""), ("file", "kept/b", "")],
        6: [("folder", "opaque", ""), ("file", "opaque/a", "")],
        7: [("folder", "turned", ""), ("file", "turned/a", "")],
        31: [("folder", "nasty", ""), ("gone", "nasty/first", "")],
        32: [("folder", "nasty", ""), ("folder", "nasty/late", ""), ("gone", "nasty/late/x", "")],
        33: [("folder", "nasty", ""), ("file", "nasty/gone", "")],
        34: [("folder", "nasty", ""), ("gone", "nasty/gone", "")],
        40: [("folder", "kept", ""), ("gone", "kept/a", "")],
        41: [("folder", "opaque", ""), ("opaque", "opaque", ""), ("file", "opaque/b", "")],
        42: [("file", "turned", "")],
        43: [("gone", "turned", "")],
        44: [("folder", "turned", ""), ("file", "turned/b", "")],
    }
    for number in range(1, count + 1):
        filler = [("folder", "filler", ""), ("file", f"filler/{number}", "")]
        yield _nasty_layer() if number == 30 else _tar(special.get(number, filler))


def _nasty_layer() -> bytes:
    made = io.BytesIO()

    def add(
        name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: object
    ) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, len(content)
        for field, value in fields.items():
            setattr(info, field, value)
        archive.addfile(info, io.BytesIO(content))

    capability = "\x01\x00\x00\x02\x00\udc84\x00\x00" + "\x00" * 12
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("nasty", "nasty/late", "nasty/empty"):
            add(name, tarfile.DIRTYPE, mode=0o1777, mtime=1_400_000_000)
        pax = {"mtime": "1500000000.123456789", "SCHILY.xattr.security.capability": capability}
        add("nasty/setuid", content=b"s", mode=0o6755, uid=1000, gid=100_000, pax_headers=pax)
        add("nasty/first", content=b"linked", mode=0o640, uid=7)
        add("nasty/second", tarfile.LNKTYPE, linkname="nasty/first")
        add("nasty/third", tarfile.LNKTYPE, linkname="nasty/first")
        add("nasty/device", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o622)
        add("nasty/pipe", tarfile.FIFOTYPE)
        add("nasty/dangling", tarfile.SYMTYPE, linkname="no/where")
        add("nasty/" + "long" * 50, content=b"l")
        add("nasty/\udcff\n*", content=b"bytes")
        add("nasty/sparse", content=bytes(5 << 20))
        add("nasty/late/x")
        add("nasty/late/kept")
    return made.getvalue()


def _only_layer(api: APIClient, image: str) -> bytes:
    """The uncompressed layer of an image of one."""
    saved = io.BytesIO(b"".join(api.get_image(image)))
    with tarfile.open(fileobj=saved) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        (layer,) = json.load(manifest)[0]["Layers"]
        content = archive.extractfile(layer)
        assert content is not None
        data = content.read()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def _loadable(name: str, layers: Sequence[bytes]) -> bytes:
    """A docker archive of these layers, whole."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["DEEP=1"], "WorkingDir": "/deep"},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{sha256(layer).hexdigest()}" for layer in layers],
            },
            "history": [{"created_by": f"layer {n}"} for n in range(len(layers))],
        }
    ).encode()
    files = {f"{n}/layer.tar": layer for n, layer in enumerate(layers)}
    manifest = [{"Config": "config.json", "RepoTags": [f"{name}:latest"], "Layers": list(files)}]
    files |= {"config.json": config, "manifest.json": json.dumps(manifest).encode()}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


_MOUNTED = ("/etc", "/dev", "/proc", "/sys", "/.dockerenv")
_LOOK = (
    "find / -xdev -print0 | xargs -0 stat -c 'path %n|%f %u:%g %t:%T %y %N';"
    " find / -xdev -type f -print0 | xargs -0 md5sum | sed 's/  /|/'"
)


def _look(api: APIClient, image: str) -> dict[str, str]:
    """What a container of the image sees of each file, but for what Docker puts there."""
    config = {"Image": image, "Entrypoint": ["/bin/sh", "-c", _LOOK], "WorkingDir": "/"}
    config["HostConfig"] = {"NetworkMode": "none"}
    container = api.create_container_from_config(config)["Id"]
    try:
        api.start(container)
        assert api.wait(container)["StatusCode"] == 0, api.logs(container)
        lines = api.logs(container).decode("utf-8", "replace").split("\n")
    finally:
        api.remove_container(container, v=True, force=True)
    found: dict[str, str] = {}
    for line in lines:
        start, _, rest = line.partition("|")
        path, told = (start[5:], rest) if start.startswith("path ") else (rest, start)
        if not path.startswith(_MOUNTED):
            found[path] = f"{found.get(path, '')} {told}"
    return found
