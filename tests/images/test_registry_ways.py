"""The ways to a registry: certificates, and proxies."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from obuild.errors import ImageError
from obuild.images.connections import Connections
from obuild.images.credentials import Credentials
from obuild.images.pull import resolve_digest
from obuild.images.reference import parse
from obuild.images.registries import Endpoint, Proxies, Registries
from obuild.images.registry import Registry
from tests.conftest import give_up
from tests.images.conftest import HASTY, Handler, Played


@pytest.fixture
def secure(played: Played, tmp_path: Path) -> Played:
    """The played registry behind TLS, with a certificate of its own for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        give_up("there is no openssl to make a certificate with")
    key, certificate = tmp_path / "own.key", tmp_path / "own.crt"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    words += ["-subj", "/CN=own", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    words += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *words], check=True, capture_output=True, timeout=30)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    played.server.socket = context.wrap_socket(
        played.server.socket, server_side=True, do_handshake_on_connect=False
    )
    return played


def ask(registries: Registries, endpoint: Endpoint) -> str | None:
    connections = Connections(registries, HASTY)
    try:
        return Registry(connections, endpoint, "a", Credentials()).digest("t")
    finally:
        connections.close()


def test_a_certificate_must_be_known(secure: Played, tmp_path: Path) -> None:
    digest = secure.add_image("t", b"x").digest
    endpoint = Endpoint(secure.host, (f"https://{secure.host}",))
    with pytest.raises(ImageError, match="no safe connection") as caught:
        ask(Registries(), endpoint)
    assert f"/etc/docker/certs.d/{secure.host}/ca.crt" in (caught.value.hint or "")
    assert not caught.value.passing
    folder = tmp_path / "certs.d" / secure.host
    folder.mkdir(parents=True)
    shutil.copy(tmp_path / "own.crt", folder / "ca.crt")
    assert ask(Registries(certificates=str(tmp_path / "certs.d")), endpoint) == digest
    (folder / "ca.crt").write_text("nonsense")
    with pytest.raises(ImageError, match=r"ca\.crt cannot be used"):
        ask(Registries(certificates=str(tmp_path / "certs.d")), endpoint)


def test_this_machine_may_answer_over_tls(secure: Played) -> None:
    digest = secure.add_image("t", b"x").digest
    reference = parse(f"{secure.host}/a:t")
    assert resolve_digest(reference, Registries(), Credentials(), patience=HASTY) == digest


def test_no_way_leads_from_tls_to_plain_http(secure: Played, tmp_path: Path) -> None:
    folder = tmp_path / "certs.d" / secure.host
    folder.mkdir(parents=True)
    shutil.copy(tmp_path / "own.crt", folder / "ca.crt")

    def lead(handler: Handler) -> bool:
        return handler.answer(307, b"", Location="http://127.0.0.1:1/x")

    secure.hooks.append(lead)
    endpoint = Endpoint(secure.host, (f"https://{secure.host}",))
    with pytest.raises(ImageError, match="leads from https to http"):
        ask(Registries(certificates=str(tmp_path / "certs.d")), endpoint)


def test_redirects_end(played: Played) -> None:
    played.hooks.append(lambda handler: handler.answer(307, b"", Location=handler.path))
    with pytest.raises(ImageError, match="without end"):
        ask(Registries(), Endpoint(played.host, (f"http://{played.host}",)))


def test_a_proxy_is_asked(played: Played) -> None:
    def hook(handler: Handler) -> bool:
        if not handler.path.startswith("http://far.example/v2/a/"):
            return False
        return handler.answer(200, b"", **{"Docker-Content-Digest": "sha256:" + "1" * 64})

    played.hooks.append(hook)
    settings = Registries(proxies=Proxies(http=f"http://{played.host}"))
    found = ask(settings, Endpoint("far.example", ("http://far.example",)))
    assert found == "sha256:" + "1" * 64


def test_a_host_that_does_not_exist_is_a_fault_that_passes() -> None:
    with pytest.raises(ImageError, match=r"no host none\.invalid") as caught:
        ask(Registries(), Endpoint("none.invalid", ("https://none.invalid",)))
    assert caught.value.passing
