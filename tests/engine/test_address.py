"""Finding the daemon as the ``docker`` command does, and looking at it without the SDK."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from obuild.engine.docker import DockerEngine
from obuild.engine.docker.address import Address, find_address
from obuild.engine.docker.glance import glance
from obuild.errors import EngineUnavailable
from tests.engine.bases import key_of
from tests.engine.proxy import Proxy

DEFAULT = "unix:///var/run/docker.sock"


def _context(folder: Path, name: str, host: str, *, skip: bool = False) -> Path:
    """Writes a docker context; returns the folder for its certificates."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / digest
    meta.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": skip}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": endpoint}}))
    return folder / "contexts" / "tls" / digest / "docker"


def test_default(tmp_path: Path) -> None:
    assert find_address(None, {"HOME": str(tmp_path)}) == Address(DEFAULT)


def test_order_of_places(tmp_path: Path) -> None:
    docker = tmp_path / ".docker"
    _context(docker, "current", "tcp://current:1")
    _context(docker, "wanted", "ssh://wanted")
    (docker / "config.json").write_text('{"currentContext": "current"}')
    environment = {"HOME": str(tmp_path)}
    assert find_address(None, environment).url == "tcp://current:1"
    environment["DOCKER_CONTEXT"] = "wanted"
    assert find_address(None, environment).url == "ssh://wanted"
    environment["DOCKER_HOST"] = "unix:///host"
    assert find_address(None, environment).url == "unix:///host"
    assert find_address("/given", environment).url == "unix:///given"
    assert find_address(None, {**environment, "DOCKER_HOST": "", "DOCKER_CONTEXT": "default"}) == (
        Address(DEFAULT)
    )


def test_certificates(tmp_path: Path) -> None:
    files = _context(tmp_path, "safe", "tcp://safe:2376")
    files.mkdir(parents=True)
    (files / "ca.pem").write_text("")
    tls = find_address(None, {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "safe"}).tls
    assert tls is not None
    assert (tls.ca, tls.cert, tls.verify) == (str(files / "ca.pem"), None, True)
    environment = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(files)}
    found = find_address("tcp://h:1", environment)
    assert found.tls == tls
    assert found.plain_tcp is None
    assert find_address("tcp://h:1", {}).plain_tcp == ("h", 1)
    assert find_address(DEFAULT, environment).tls is None


def test_missing_context(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="lost"):
        find_address(None, {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "lost"})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(EngineUnavailable, match=r"config\.json"):
        find_address(None, {"DOCKER_CONFIG": str(tmp_path)})


@pytest.fixture
def silent() -> Iterator[str]:
    """A socket that takes connections and never says a word."""
    with Proxy(None) as proxy:
        yield proxy.host


def _engine(host: str) -> DockerEngine:
    return DockerEngine("obuilder-0000000", host=host, emit=lambda _: None, timeout=0.5)


def test_nothing_listens(tmp_path: Path) -> None:
    for host in (f"unix://{tmp_path}/no.sock", "tcp://127.0.0.1:1"):
        with pytest.raises(EngineUnavailable, match="does not answer") as caught:
            _engine(host).exists(key_of("x"))
        assert "start the daemon" in str(caught.value.hint)
        with pytest.raises(EngineUnavailable, match="does not answer"):
            glance(host, {}, ["x"])


def test_no_answer(silent: str) -> None:
    with pytest.raises(EngineUnavailable, match=r"no answer within 0\.5 s"):
        _engine(silent).exists(key_of("x"))
    with pytest.raises(EngineUnavailable, match=r"no answer within 0\.2 s"):
        glance(silent, {}, ["x"], timeout=0.2)


def test_kinds_that_a_glance_cannot_look_at() -> None:
    assert glance("ssh://somewhere", {}, ["x"]) is None
    assert glance("tcp://h:1", {"DOCKER_TLS_VERIFY": "1"}, ["x"]) is None


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 500 No\r\n\r\n", b"\0" * 99])
def test_what_answers_is_no_daemon(tmp_path: Path, answer: bytes) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(EngineUnavailable):
            glance(f"unix://{path}", {}, ["x"])
        with pytest.raises(EngineUnavailable):
            _engine(f"unix://{path}").exists(key_of("x"))
        thread.join()


def test_chunked_answers(tmp_path: Path) -> None:
    """Split at every byte, with and without a length."""
    path = str(tmp_path / "s")
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n"
    )
    sized = b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\n\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                for answer in (chunked, sized, chunked):
                    connection.recv(1 << 16)
                    for position in range(len(answer)):
                        connection.sendall(answer[position : position + 1])

        thread = threading.Thread(target=serve)
        thread.start()
        assert glance(f"unix://{path}", {}, ["a", "b", "c"]) == [True, False, True]
        thread.join()
