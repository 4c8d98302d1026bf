"""A played registry that can be told to misbehave, real ones, and images to move."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from obuild.images.blobs import Blobs
from obuild.images.connections import Patience
from obuild.images.content import Descriptor, Image
from tests.setup import registry as registries

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
HASTY = Patience(connect=2.0, silence=2.0, pauses=(0.02, 0.02, 0.02), longest_wait=3.0)

# The bcrypt hash of "secret", of the cheapest kind.
_HTPASSWD = "ann:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(content: bytes, media_type: str, **more: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def config_of(platform: str) -> bytes:
    names = ("os", "architecture", "variant")
    return json.dumps(dict(zip(names, platform.split("/"), strict=False))).encode()


Hook = Callable[["Handler"], bool]
"""Answers a request in its own way and returns True, or leaves it to the registry."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that break off are what is tested."""
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Played:
    """A registry in a thread. ``hooks`` are asked first, in their order; ``requests`` are
    what came: method, path, headers."""

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.hooks: list[Hook] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.ranges = True
        self.server = _Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.played = self  # type: ignore[attr-defined]
        self.stopping = threading.Event()
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def add_image(self, tag: str, *layers: bytes, platform: str = "linux/amd64") -> Image:
        config = config_of(platform)
        self.blobs.update({digest_of(each): each for each in (config, *layers)})
        document = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor(config, CONFIG),
                "layers": [descriptor(each, LAYER) for each in layers],
            }
        ).encode()
        digest = self.add_manifest(tag, MANIFEST, document)
        return Image(
            Descriptor(MANIFEST, digest, len(document)),
            Descriptor(CONFIG, digest_of(config), len(config)),
            tuple(Descriptor(LAYER, digest_of(each), len(each)) for each in layers),
            digest,
        )

    def add_manifest(self, tag: str, media_type: str, document: bytes) -> str:
        digest = digest_of(document)
        self.manifests[tag] = self.manifests[digest] = media_type, document
        return digest

    def add_index(self, tag: str, **images: Image) -> str:
        """``linux_arm64=image``: an index of images by their platforms."""
        entries = []
        for name, image in images.items():
            names = ("os", "architecture", "variant")
            platform = dict(zip(names, name.split("_"), strict=False))
            content = image.manifest
            entry = {"digest": content.digest, "size": content.size, "platform": platform}
            entries.append({"mediaType": content.media_type, **entry})
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        return self.add_manifest(tag, INDEX, json.dumps(document).encode())

    def paths(self, method: str) -> list[str]:
        return [path for its, path, _ in self.requests if its == method]

    def close(self) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def played(self) -> Played:
        return self.server.played  # type: ignore[attr-defined, no-any-return]

    def log_message(self, *_: object) -> None:
        """Nothing: the tests see the requests."""

    def do_GET(self) -> None:
        self.played.requests.append((self.command, self.path, dict(self.headers)))
        for hook in self.played.hooks:
            if hook(self):
                return
        self.serve()

    do_HEAD = do_POST = do_PUT = do_GET

    def serve(self) -> None:
        if self.path == "/v2/":
            self.answer(200, b"{}")
        elif found := re.fullmatch(r"/v2/.+/manifests/(.+)", self.path):
            media_type, document = self.played.manifests.get(found[1], ("", b""))
            if not document:
                self.refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")
                return
            digest = digest_of(document)
            told = {"Content-Type": media_type, "Docker-Content-Digest": digest}
            self.answer(200, document, **told)
        elif found := re.fullmatch(r"/v2/.+/blobs/(.+)", self.path):
            content = self.played.blobs.get(found[1])
            if content is None:
                self.refuse(404, "BLOB_UNKNOWN", "blob unknown")
                return
            self.answer_blob(content)
        else:
            self.refuse(404, "UNSUPPORTED", "nothing is here")

    def answer_blob(self, content: bytes) -> None:
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if begin is None or not self.played.ranges:
            self.answer(200, content)
            return
        offset = int(begin[1])
        span = f"bytes {offset}-{len(content) - 1}/{len(content)}"
        self.answer(206, content[offset:], **{"Content-Range": span})

    def answer(self, status: int, content: bytes, **headers: str) -> bool:
        """True, for a hook to return."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        return True

    def refuse(self, status: int, code: str, message: str, **headers: str) -> bool:
        errors = {"errors": [{"code": code, "message": message}]}
        return self.answer(status, json.dumps(errors).encode(), **headers)

    def cut(self, content: bytes, after: int, status: int = 200, **headers: str) -> None:
        """Promise all, send the first ``after`` bytes, and break off."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[:after])
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


@pytest.fixture
def played() -> Iterator[Played]:
    registry = Played()
    yield registry
    registry.close()


@pytest.fixture
def elsewhere() -> Iterator[Played]:
    """Another server: a mirror, a store of blobs, a giver of tokens."""
    registry = Played()
    yield registry
    registry.close()


class CutOffError(Exception):
    """Ends the writing of a blob before its end."""


def leave_part(blobs: Blobs, digest: str, content: bytes) -> None:
    """What an earlier try left of a blob."""
    with suppress(CutOffError), blobs.incoming(digest, None) as coming:
        coming.write(content)
        raise CutOffError


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``HOST:PORT`` of a real registry, plain http, no password."""
    yield from _serve(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``HOST:PORT`` of a real registry that knows ``ann`` with the password ``secret``."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "htpasswd").write_text(_HTPASSWD)
    auth = {"htpasswd": {"realm": "guarded", "path": str(folder / "htpasswd")}}
    yield from _serve(folder, auth=auth)


def _serve(folder: Path, **settings: object) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings |= {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (folder / "registry.yml").write_text(json.dumps(settings))
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [str(registries.program()), "serve", str(folder / "registry.yml")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        _wait_for(port, process, folder / "registry.log")
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"the registry does not start: {log.read_text('utf-8', 'replace')[-2000:]}")
