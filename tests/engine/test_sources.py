"""Copies from another build (``Engine.source``), on every engine: what arrives, in what form.

Each tree is copied by the tools of its guest (Debian) and through the archive endpoint (busybox
has no bash), and both must do the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from threading import Event

import pytest
from docker import APIClient

from obuild.engine import Engine, PutFiles
from obuild.engine.docker import DockerEngine
from obuild.errors import SourceError
from obuild.ir.manifest import Dir, File, Manifest, Symlink, walk, write_manifest
from obuild.ir.ops import UnixUser, User
from tests.engine.bases import Steps, key_of

pytestmark = pytest.mark.engine

ROOT = UnixUser(0, 0)
MakeBase = Callable[..., str]

_TREE = r"""
umask 022; mkdir -p /src/d/deep /src/empty /other; cd /src
printf one > a; printf two > d/two; printf three > d/deep/three; chmod 4755 a; chmod 600 d/two
chown 7:8 d/two d; ln a hard; ln d/two d/hard2; ln -s a l; ln -s /no/where dangling
ln -s ../d "blank l"; : > nothing; printf q > 'q"u'; printf b > 'b\s'; printf n > "$(printf 'n\nl')"
printf d > -dash; printf x > "$(printf 'x\377\376y')"; printf g > 'g lob*?['; printf s > "it's"
n=$(printf '%0200d' 0); mkdir $n; printf l > $n/$n; ln -s $n/$n long; chmod 700 empty
"""


@pytest.fixture(params=["debian", "busybox"])
def origin(request: pytest.FixtureRequest, steps: Steps, base_image: str) -> str:
    """The key of a base with bash and GNU tar, or without."""
    if request.param == "busybox":
        return steps.base(base_image)
    return steps.base(request.getfixturevalue("debian_image"))


class Copies:
    def __init__(self, engine: Engine):
        self.engine = engine

    def manifest(self, key: str, *sources: str, exclude: Sequence[str] = ()) -> list[Manifest]:
        with self.engine.source(key, Event()) as source:
            return list(source.manifest(sources, exclude))

    def copy(
        self,
        key: str,
        parent: str,
        destination: str,
        *sources: str,
        user: User = ROOT,
        exclude: Sequence[str] = (),
        cancel: Event | None = None,
    ) -> str:
        flag = cancel or Event()
        made = key_of(f"{key} {parent} {destination} {sources} {user} {exclude}")
        with self.engine.source(key, flag) as source:
            manifests = source.manifest(sources, exclude)
            files = source.files(manifests, destination, user)
            action = PutFiles(destination, files)
            self.engine.execute(made, parent, action, lambda _: None, flag)
        return made


@pytest.fixture
def copies(engine: DockerEngine) -> Copies:
    return Copies(engine)


_LOOK = (
    "cd /t && find . -exec stat -c '%a %u:%g %F %s %n' '{}' ';' | sort | sha256sum;"
    " find . -type f -exec cat '{}' + | sha256sum; find . -type l -exec readlink '{}' ';' | sort"
)


def test_a_whole_tree_arrives_whole(steps: Steps, copies: Copies, origin: str, base: str) -> None:
    made = steps.run(origin, _TREE)
    copied = copies.copy(made, base, "/t/", "src")
    assert steps.see(copied, "cat /t/src/d/deep/three /t/src/hard /t/src/d/hard2") == b"threeonetwo"
    look = "cd /t/src; stat -c '%a %u:%g' . a d d/two empty hard; ls empty | wc -l"
    kept = b"755 0:0\n755 0:0\n755 0:0\n644 0:0\n755 0:0\n755 0:0\n0\n"
    assert steps.see(copied, look) == kept
    assert steps.see(
        copied, 'cd /t/src; for l in l dangling bl*l; do readlink "$l"; done; readlink long | wc -c'
    ) == (b"a\n/no/where\n../d\n402\n")
    odd = (
        r"""cd /t/src; cat 'q"u' 'b\s' "$(printf 'n\nl')" ./-dash "$(printf 'x\377\376y')" it?s """
    )
    assert steps.see(copied, odd) == b"qbndxs"
    assert steps.see(copied, "cd /t/src; find . | wc -l") == b"24\n"


def test_both_ways_agree(
    steps: Steps, copies: Copies, base: str, debian_image: str, engine: DockerEngine
) -> None:
    """The same tree in an image with bash and in one without gives the same manifest with
    attributes, and the same files."""
    debian = steps.run(steps.base(debian_image), _TREE)
    busybox = steps.run(base, _TREE)
    texts = []
    for key in (debian, busybox):
        manifests = copies.manifest(key, "src", "src/d", "src/l", exclude=["two", "nothing"])
        texts.append([str(write_manifest(m, attributes=True)) for m in manifests])
    assert texts[0] == texts[1]
    assert "two" not in {
        m.path.rpartition("/")[2] for m in walk(copies.manifest(debian, "src", exclude=["two"])[0])
    }
    seen = [
        steps.see(copies.copy(key, base, "/t/", "src", "src/d", user=UnixUser(5, 6)), _LOOK)
        for key in (debian, busybox)
    ]
    assert seen[0] == seen[1]


def test_a_manifest_says_what_is_there(steps: Steps, copies: Copies, origin: str) -> None:
    made = steps.run(origin, "mkdir -m 2711 /d; printf x > /d/f; chmod 640 /d/f; chown 3:4 /d/f")
    (found,) = copies.manifest(made, "//./d")
    assert isinstance(found, Dir)
    (file,) = found.items
    assert isinstance(file, File)
    assert (found.path, file.path) == ("d", "d/f")
    assert file.digest == hashlib.sha256(b"x").hexdigest()
    assert found.attributes is not None
    assert file.attributes is not None
    assert (found.attributes.mode, file.attributes.mode) == (0o2711, 0o640)
    assert (file.attributes.uid, file.attributes.gid, file.executable) == (3, 4, False)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nope", 'Source path "nope" not found'),
        ("d/nope", 'Source path "d/nope" not found'),
        ("d/../f", 'Can\'t use .. in source paths! (in "d/../f")'),
        ("f/", 'Not a directory: f (in "f/")'),
        ("f/x", 'Not a directory: f (in "f/x")'),
        ("l/f", 'Not a regular file: l (in "l/f")'),
        ("p", 'Not a regular file: p (in "p")'),
        ("d", 'Unsupported file type for "d/p"'),
    ],
)
def test_refused_sources_have_the_words_of_the_context(
    steps: Steps, copies: Copies, origin: str, source: str, words: str
) -> None:
    made = steps.run(origin, "mkdir /d; mkfifo /d/p /p; printf x > /f; ln -s d /l")
    with pytest.raises(SourceError) as caught:
        copies.manifest(made, source)
    assert caught.value.message == words


def test_destinations(steps: Steps, copies: Copies, origin: str, base: str) -> None:
    made = steps.run(origin, "mkdir /s; printf 1 > /s/f; ln -s f /s/l")
    target = steps.run(base, "mkdir -m 1777 /there; ln -s there /by; printf old > /file")
    file = copies.copy(made, target, "/new/one", "s/f")
    assert steps.see(file, "cat /new/one; stat -c ' %a %u' /new") == b"1 755 0\n"
    over = copies.copy(made, target, "/file", "s/f", user=UnixUser(9, 9))
    assert steps.see(over, "cat /file; stat -c ' %u:%g' /file") == b"1 9:9\n"
    link = copies.copy(made, target, "/new/l", "s/l")
    assert steps.see(link, "readlink /new/l") == b"f\n"
    through = copies.copy(made, target, "/by/deep/", "s")
    assert steps.see(through, "cat /there/deep/s/f; stat -c ' %a' /there") == b"1 1777\n"
    onto = copies.copy(made, target, "/there", "s")
    assert steps.see(onto, "cat /there/f; stat -c ' %a' /there") == b"1 1777\n"


def test_one_file_twice_and_equal_names(
    steps: Steps, copies: Copies, origin: str, base: str
) -> None:
    """The later of two sources with one name stays."""
    made = steps.run(origin, "mkdir /x /y; printf 1 > /x/n; printf 2 > /y/n; ln /x/n /x/m")
    copied = copies.copy(made, base, "/t/", "x/n", "x/n", "x/m", "y/n")
    assert steps.see(copied, "cat /t/n /t/m; ls /t") == b"21m\nn\n"


def test_what_docker_puts_into_containers_is_not_copied(
    steps: Steps, copies: Copies, origin: str, base: str
) -> None:
    made = steps.run(origin, "mkdir -p /etc/own; printf h > /etc/own/h")
    copied = copies.copy(made, base, "/t/", "etc")
    assert (
        steps.see(copied, "cat /t/etc/own/h; ls /t/etc | grep 'hosts$\\|mtab' | wc -l") == b"h0\n"
    )
    (whole,) = copies.manifest(made, ".", exclude=["usr", "bin", "lib", "var", "dev"])
    paths = {item.path for item in walk(whole)}
    assert "etc/own/h" in paths
    assert not {".dockerenv", "dev/console", "etc/mtab"} & paths
    assert not [path for path in paths if "obuild" in path]


def test_an_image_of_files_only(
    engine: DockerEngine, steps: Steps, copies: Copies, base: str, api: APIClient
) -> None:
    """Nothing can be run in it at all."""
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("only")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"file"))
    name = "obuild-test/scratch"
    api.import_image_from_data(stream.getvalue(), name)
    try:
        copied = copies.copy(steps.base(name), base, "/t/", "only")
        assert steps.see(copied, "cat /t/only") == b"file"
        (whole,) = copies.manifest(steps.base(name), "/")
        assert isinstance(whole, Dir)
        assert [item.path for item in whole.items] == ["only"]
    finally:
        api.remove_image(name)


def test_the_config_of_the_other_build_does_not_leak_nor_act(
    steps: Steps,
    copies: Copies,
    base: str,
    engine: DockerEngine,
    debian_image: str,
    api: APIClient,
) -> None:
    """Its entrypoint, user, environment, volumes and health checks."""
    container = api.create_container(debian_image, ["none"])["Id"]
    name = "obuild-test/acting"
    changes = [
        "VOLUME /src",
        "USER 1234",
        'ENTRYPOINT ["/nope"]',
        "ENV LEAK=1 PATH=/nowhere",
        "WORKDIR /not/there",
        "HEALTHCHECK CMD exit 1",
    ]
    api.commit(container, repository=name, tag="latest", changes=changes)
    api.remove_container(container)
    try:
        made = steps.run(
            steps.base(name), "mkdir -p /src; printf 1 > /src/f", env=[("PATH", "/usr/bin:/bin")]
        )
        volumes = {row["Name"] for row in api.volumes()["Volumes"] or ()}
        copied = copies.copy(made, base, "/t/", "src")
        config = engine.inspect(copied).config
        assert (config.user, config.workdir, config.entrypoint) == ("", "", ())
        assert not [e for e in config.env if e.startswith("LEAK")]
        assert steps.see(copied, "cat /t/src/f") == b"1"
        new = {row["Name"] for row in api.volumes()["Volumes"] or ()} - volumes
        assert not [n for n in new if len(n) != 64 and not n.endswith("-libexec")]
    finally:
        engine.clean()
        api.remove_image(name)


def test_sparse_files_and_memory(steps: Steps, copies: Copies, origin: str, base: str) -> None:
    import tracemalloc

    made = steps.run(
        origin,
        "mkdir /s; dd if=/dev/zero of=/s/big bs=1 count=1 seek=99999999 "
        "2>/dev/null; printf end >> /s/big",
    )
    tracemalloc.start()
    copied = copies.copy(made, base, "/t/", "s")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000
    assert steps.see(copied, "stat -c %s /t/s/big; tail -c 3 /t/s/big") == b"100000003\nend"


def test_what_a_killed_visit_leaves_is_swept(
    engine: DockerEngine, api: APIClient, prefix: str, base_image: str
) -> None:
    for name in (f"{prefix}-copy-dead-1", f"{prefix}-copy-living-2"):
        api.create_container(base_image, ["sh"], name=name)
    api.tag(base_image, f"{prefix}-image-tmp-copy-dead-1")
    removed = engine.sweep(lambda owner: owner == "living")
    assert sorted(removed) == [
        f"container {prefix}-copy-dead-1",
        f"image {prefix}-image-tmp-copy-dead-1:latest",
    ]


def test_the_volume_is_verified_and_made_anew(
    engine: DockerEngine,
    clean_env: dict[str, str],
    engine_host: str,
    steps: Steps,
    prefix: str,
    copies: Copies,
    api: APIClient,
    debian_image: str,
) -> None:
    """A script of another content, under the right name, is not run."""
    claimed = engine.claim(None, "machine")
    made = steps.run(steps.base(debian_image), "printf 1 > /f")
    (right,) = copies.manifest(made, "f")
    volume = f"{prefix}-libexec"
    assert api.inspect_volume(volume)["Labels"]["obuild.store"] == claimed
    mount = {"Type": "volume", "Source": volume, "Target": "/v"}
    spoilt = api.create_container(
        debian_image,
        ["sh", "-c", "cd /v; ls -l; for f in *; do echo 'echo lies' > $f; done"],
        host_config={"Mounts": [mount], "NetworkMode": "none"},
    )["Id"]
    api.start(spoilt)
    api.wait(spoilt)
    listing = api.logs(spoilt).decode()
    api.remove_container(spoilt, v=True)
    assert listing.count("-r-xr-xr-x") == 2
    other = DockerEngine(prefix, host=engine_host, environment=clean_env, emit=lambda _: None)
    assert Copies(other).manifest(made, "f") == [right]
    other.close()
    engine.close()
    api.remove_volume(volume)
    third = DockerEngine(prefix, host=engine_host, environment=clean_env, emit=lambda _: None)
    third.claim(claimed, "machine")
    api.remove_volume(volume)
    assert Copies(third).manifest(made, "f") == [right]
    assert api.inspect_volume(volume)["Labels"]["obuild.store"] == claimed
    third.close()


def test_links_are_kept(steps: Steps, copies: Copies, origin: str) -> None:
    made = steps.run(origin, "ln -s 'a b' /l")
    assert copies.manifest(made, "l") == [Symlink("l", "a b")]
