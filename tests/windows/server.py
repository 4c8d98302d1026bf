"""The Engine API of a played daemon, on a loopback port (v1.45 of the API).

What is not known of the API here answers 404, so no test can pass by a call that was never
thought of.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from tests.windows.daemon import DIGEST, Daemon, Refused, Request

__all__ = ["serve"]


@contextmanager
def serve(daemon: Daemon) -> Iterator[str]:
    """Where it answers, as DOCKER_HOST wants it."""

    class Bound(_Handler):
        pass

    Bound.daemon = daemon
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"tcp://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


class _Stream:
    """An attached connection; frames as in ``POST /containers/{id}/attach``."""

    def __init__(self, handler: _Handler, query: dict[str, str]):
        self._handler = handler
        self._query = query
        self.stdin = handler.rfile
        self.closed = threading.Event()

    def takes(self, stream: str) -> bool:
        return self._query.get(stream, "0").lower() in ("1", "true")

    def say(self, data: bytes, stream: int) -> None:
        header = bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big")
        self._handler.wfile.write(header + data)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    daemon: ClassVar[Daemon]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        path = unquote(re.sub(r"^/v1\.\d+", "", url.path))
        body = self._body()
        self.daemon.requests.append(Request(self.command, path, query, body))
        for method, pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if method == self.command and found:
                try:
                    answer(self, query, body, *found.groups())
                except Refused as refused:
                    self.send_json(refused.status, {"message": str(refused)})
                return
        self.send_json(404, {"message": f"page not found: {self.command} {path}"})

    def _body(self) -> Any:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return json.loads(data) if data and "json" in self.headers["Content-Type"] else data

    def send_json(self, status: int, value: Any) -> None:
        self.send_bytes(status, b"" if value is None else json.dumps(value).encode())

    def send_bytes(self, status: int, data: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Api-Version", "1.45")
        self.send_header("Ostype", self.daemon.os)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_chunks(self, chunks: Iterable[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")


Query = dict[str, str]
Answer = Callable[..., None]


def _ping(handler: _Handler, _query: Query, _body: Any) -> None:
    handler.send_bytes(200, b"OK", "text/plain")


def _info(handler: _Handler, _query: Query, _body: Any) -> None:
    handler.send_json(
        200,
        {
            "OSType": handler.daemon.os,
            "Architecture": "x86_64",
            "Driver": "windowsfilter",
            "DriverStatus": [["Windows", ""]],
            "Isolation": "hyperv",
            "ServerVersion": "26.1.0",
        },
    )


def _version(handler: _Handler, _query: Query, _body: Any) -> None:
    handler.send_json(
        200, {"Version": "26.1.0", "ApiVersion": "1.45", "MinAPIVersion": "1.24", "Os": "windows"}
    )


def _image(handler: _Handler, _query: Query, _body: Any, name: str) -> None:
    image = handler.daemon.image(name)
    handler.send_json(
        200,
        {
            "Id": image.id,
            "RepoTags": image.tags,
            "RepoDigests": image.digests,
            "Comment": image.comment,
            "Config": image.config,
            "Architecture": "amd64",
            "Os": handler.daemon.image_os,
            "OsVersion": "10.0.20348.2402",
            "RootFS": {"Type": "layers", "Layers": [DIGEST]},
        },
    )


def _images(handler: _Handler, query: Query, _body: Any) -> None:
    patterns = _filters(query, "reference")
    rows = []
    for image in handler.daemon.images.values():
        tags = [tag for tag in image.tags if _named(tag, patterns)]
        if tags or not patterns:
            rows.append({"Id": image.id, "RepoTags": tags, "Size": 1000})
    handler.send_json(200, rows)


def _named(tag: str, patterns: list[str]) -> bool:
    names = (tag, tag.rpartition(":")[0])
    return not patterns or any(fnmatchcase(name, p) for p in patterns for name in names)


def _filters(query: Query, name: str) -> list[str]:
    found = json.loads(query.get("filters") or "{}").get(name) or []
    return list(found)


def _pull(handler: _Handler, query: Query, _body: Any) -> None:
    name = f"{query['fromImage']}:{query.get('tag') or 'latest'}"
    if name not in handler.daemon.pullable:
        raise Refused(404, f"manifest for {name} not found: manifest unknown")
    there = any(name in image.tags for image in handler.daemon.images.values())
    handler.daemon.pull(name)
    news = "Image is up to date for" if there else "Downloaded newer image for"
    repository = query["fromImage"].partition("/")[2]
    rows: list[dict[str, Any]] = [
        {"status": f"Pulling from {repository}", "id": query.get("tag")},
        {"status": f"Digest: {DIGEST}"},
        {"status": f"Status: {news} {name}"},
    ]
    if not there:
        part = {"id": "7c76e5cf7755"}
        rows[1:1] = [
            {"status": "Pulling fs layer", "progressDetail": {}, **part},
            {"status": "Downloading", "progressDetail": {"current": 5, "total": 10}, **part},
            {"status": "Pull complete", "progressDetail": {}, **part},
        ]
    handler.send_chunks(json.dumps(row).encode() + b"\r\n" for row in rows)


def _load(_handler: _Handler, _query: Query, _body: Any) -> None:
    raise Refused(500, "a layer of this image has files that Windows cannot place")


def _tag(handler: _Handler, query: Query, _body: Any, name: str) -> None:
    image = handler.daemon.image(name)
    handler.daemon.tag(image, f"{query['repo']}:{query.get('tag') or 'latest'}")
    handler.send_json(201, None)


def _untag(handler: _Handler, _query: Query, _body: Any, name: str) -> None:
    handler.send_json(200, handler.daemon.untag(name))


def _commit(handler: _Handler, query: Query, body: Any) -> None:
    handler.send_json(201, {"Id": handler.daemon.commit(query, body or {})})


def _containers(handler: _Handler, query: Query, _body: Any) -> None:
    patterns = _filters(query, "name")
    rows = [
        {"Id": found.id, "Names": [f"/{found.name}"], "State": found.status, "Status": found.status}
        for found in handler.daemon.containers.values()
        if not patterns or any(re.search(pattern, found.name) for pattern in patterns)
    ]
    handler.send_json(200, rows)


def _create(handler: _Handler, query: Query, body: Any) -> None:
    made = handler.daemon.create(query["name"], body)
    handler.send_json(201, {"Id": made.id, "Warnings": []})


def _container(handler: _Handler, _query: Query, _body: Any, name: str) -> None:
    found = handler.daemon.container(name)
    state = {"Running": found.status == "running", "Status": found.status, "OOMKilled": False}
    handler.send_json(
        200,
        {
            "Id": found.id,
            "Name": f"/{found.name}",
            "State": {**state, "ExitCode": found.code},
            "Config": found.config,
            "HostConfig": found.config.get("HostConfig") or {},
        },
    )


def _attach(handler: _Handler, query: Query, _body: Any, name: str) -> None:
    container = handler.daemon.container(name)
    handler.close_connection = True
    stream = _Stream(handler, query)
    container.streams.append(stream)  # before the client can go on
    handler.send_response(101, "UPGRADED")
    handler.send_header("Content-Type", "application/vnd.docker.raw-stream")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Upgrade", "tcp")
    handler.end_headers()
    stream.closed.wait()


def _start(handler: _Handler, _query: Query, _body: Any, name: str) -> None:
    handler.daemon.start(handler.daemon.container(name))
    handler.send_json(204, None)


def _wait(handler: _Handler, _query: Query, _body: Any, name: str) -> None:
    container = handler.daemon.container(name)
    container.ended.wait()
    handler.send_json(200, {"StatusCode": container.code})


def _remove(handler: _Handler, _query: Query, _body: Any, name: str) -> None:
    handler.daemon.remove(handler.daemon.container(name))
    handler.send_json(204, None)


def _archive(handler: _Handler, _query: Query, _body: Any, name: str) -> None:
    container = handler.daemon.container(name)
    if container.status == "running":
        words = "filesystem operations against a running Hyper-V container are not supported"
        raise Refused(500, words)
    raise Refused(500, "the files of mounted volumes cannot be reached in this way")


def _volumes(handler: _Handler, query: Query, _body: Any) -> None:
    patterns = _filters(query, "name")
    rows = [
        {"Name": name, "Labels": found["Labels"], "CreatedAt": "2024-01-01T00:00:00Z"}
        for name, found in handler.daemon.volumes.items()
        if not patterns or any(re.search(pattern, name) for pattern in patterns)
    ]
    handler.send_json(200, {"Volumes": rows, "Warnings": None})


def _volume(handler: _Handler, _query: Query, _body: Any, name: str) -> None:
    if name not in handler.daemon.volumes:
        raise Refused(404, f"get {name}: no such volume")
    handler.send_json(200, {"Name": name, **handler.daemon.volumes[name]})


def _make_volume(handler: _Handler, _query: Query, body: Any) -> None:
    found = handler.daemon.volumes.setdefault(body["Name"], {"Labels": body.get("Labels") or None})
    handler.send_json(201, {"Name": body["Name"], **found})


def _drop_volume(handler: _Handler, _query: Query, _body: Any, name: str) -> None:
    handler.daemon.drop_volume(name)
    handler.send_json(204, None)


ROUTES: tuple[tuple[str, str, Answer], ...] = (
    ("GET", "/_ping", _ping),
    ("HEAD", "/_ping", _ping),
    ("GET", "/info", _info),
    ("GET", "/version", _version),
    ("GET", "/images/json", _images),
    ("GET", "/images/(.+)/json", _image),
    ("POST", "/images/create", _pull),
    ("POST", "/images/load", _load),
    ("POST", "/images/(.+)/tag", _tag),
    ("DELETE", "/images/(.+)", _untag),
    ("POST", "/commit", _commit),
    ("GET", "/containers/json", _containers),
    ("POST", "/containers/create", _create),
    ("GET", "/containers/([^/]+)/json", _container),
    ("POST", "/containers/([^/]+)/attach", _attach),
    ("POST", "/containers/([^/]+)/start", _start),
    ("POST", "/containers/([^/]+)/wait", _wait),
    ("GET", "/containers/([^/]+)/archive", _archive),
    ("HEAD", "/containers/([^/]+)/archive", _archive),
    ("PUT", "/containers/([^/]+)/archive", _archive),
    ("DELETE", "/containers/([^/]+)", _remove),
    ("GET", "/volumes", _volumes),
    ("POST", "/volumes/create", _make_volume),
    ("GET", "/volumes/([^/]+)", _volume),
    ("DELETE", "/volumes/([^/]+)", _drop_volume),
)
