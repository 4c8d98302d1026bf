"""Accounts, tokens, and who gets to see them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from obuild.errors import ImageError
from obuild.images.blobs import Blobs
from obuild.images.credentials import Account, Credentials
from obuild.images.pull import fetch
from obuild.images.push import push
from obuild.images.reference import parse
from obuild.images.registries import Registries
from tests.images.conftest import HASTY, Handler, Played

_BASIC = "Basic " + base64.b64encode(b"ann:secret").decode()


def login(folder: Path, host: str, pair: bytes = b"ann:secret", **more: object) -> Credentials:
    path = folder / "config.json"
    entry = {"auth": base64.b64encode(pair).decode(), **more}
    path.write_text(json.dumps({"auths": {host: entry}}))
    return Credentials(path)


def pull(played: Played, blobs: Blobs, credentials: Credentials) -> None:
    reference = parse(f"{played.host}/a:t")
    fetch(reference, "linux/amd64", blobs, Registries(), credentials, patience=HASTY)


def sent_to(played: Played) -> set[str | None]:
    return {headers.get("Authorization") for _, _, headers in played.requests}


def guard(played: Played, accepts: Callable[[str | None], bool], challenge: str) -> None:
    def hook(handler: Handler) -> bool:
        if handler.path == "/v2/" or accepts(handler.headers.get("Authorization")):
            return False
        handler.refuse(401, "UNAUTHORIZED", "who are you", **{"WWW-Authenticate": challenge})
        return True

    played.hooks.append(hook)


def tokens(giver: Played, answer: Callable[[Handler], object]) -> str:
    """Make ``giver`` a giver of tokens; where it is asked."""

    def hook(handler: Handler) -> bool:
        if not handler.path.startswith("/token"):
            return False
        answer(handler)
        return True

    giver.hooks.append(hook)
    return f"http://{giver.host}/token"


def give(token: str) -> Callable[[Handler], object]:
    return lambda handler: handler.answer(200, json.dumps({"token": token}).encode())


def test_files_that_say_nothing(tmp_path: Path) -> None:
    assert Credentials().find("h") is None
    assert Credentials(tmp_path / "none").find("h") is None
    (tmp_path / "config.json").write_text('{"detachKeys": "ctrl-e"}')
    assert Credentials(tmp_path / "config.json").find("h") is None


def test_accounts_by_host(tmp_path: Path) -> None:
    assert login(tmp_path, "h:5000").find("h:5000") == Account("ann", "secret")
    assert login(tmp_path, "h:5000").find("h") is None
    hub = login(tmp_path, "https://index.docker.io/v1/")
    assert hub.find("docker.io") == Account("ann", "secret")
    token = login(tmp_path, "h", identitytoken="tok").find("h")
    assert token == Account("<token>", "", "tok")
    assert "secret" not in repr(Account("ann", "secret"))


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"auths": 7}',
        '{"auths": {"h": 7}}',
        '{"auths": {"h": {"auth": "!"}}}',
        '{"auths": {"h": {"auth": 7}}}',
        '{"credsStore": "there-is-none"}',
        '{"credHelpers": {"h": "there-is-none"}}',
    ],
)
def test_a_file_that_makes_no_sense(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ImageError, match="cannot be used") as caught:
        Credentials(path).find("h")
    assert "docker login" in (caught.value.hint or "")


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-mine"
    helper.write_text('#!/bin/sh\nread host\nprintf \'{"Username":"%s","Secret":"s"}\' "$host"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path = tmp_path / "config.json"
    path.write_text('{"credHelpers": {"h:1": "mine"}}')
    assert Credentials(path).find("h:1") == Account("h:1", "s")
    assert Credentials(path).find("other") is None


def test_a_password_is_sent_when_it_is_asked_for(
    played: Played, blobs: Blobs, tmp_path: Path
) -> None:
    played.add_image("t", b"x")
    guard(played, lambda sent: sent == _BASIC, 'Basic realm="r"')
    pull(played, blobs, login(tmp_path, played.host))
    assert sent_to(played) == {None, _BASIC}


def test_an_account_that_is_refused(played: Played, blobs: Blobs, tmp_path: Path) -> None:
    played.add_image("t", b"x")
    guard(played, lambda _: False, 'Basic realm="r"')
    with pytest.raises(ImageError) as caught:
        pull(played, blobs, login(tmp_path, played.host))
    assert f"{played.host} refuses the account ann" in caught.value.message
    assert f"`docker login {played.host}`" in (caught.value.hint or "")
    assert "secret" not in caught.value.message
    assert len(played.requests) < 5
    with pytest.raises(ImageError, match="refuses whoever has no account") as caught:
        pull(played, blobs, Credentials())
    assert f"`docker login {played.host}`" in (caught.value.hint or "")


def test_a_token_is_fetched_for_what_is_wanted(
    played: Played, elsewhere: Played, blobs: Blobs, tmp_path: Path
) -> None:
    played.add_image("t", b"x")
    realm = tokens(elsewhere, give("good"))
    challenge = f'Bearer realm="{realm}",service="s, t",scope="repository:a:pull"'
    guard(played, lambda sent: sent == "Bearer good", challenge)
    pull(played, blobs, login(tmp_path, played.host))
    ((_, path, headers),) = elsewhere.requests
    asked = parse_qs(urlsplit(path).query)
    assert asked == {"service": ["s, t"], "scope": ["repository:a:pull"], "account": ["ann"]}
    assert headers["Authorization"] == _BASIC
    assert sent_to(played) == {None, "Bearer good"}


def test_a_token_that_runs_out_is_renewed(played: Played, elsewhere: Played, blobs: Blobs) -> None:
    image = played.add_image("t", b"1", b"2", b"3", b"4", b"5")
    given: list[str] = []

    def another(handler: Handler) -> None:
        given.append(f"token{len(given)}")
        give(given[-1])(handler)

    realm = tokens(elsewhere, another)
    layers = tuple(each.digest for each in image.layers)

    def ran_out(handler: Handler) -> bool:
        """The first token is good for the manifest only, the second for some layers."""
        needed = 1 + handler.path.endswith(layers) + handler.path.endswith(layers[3:])
        sent = handler.headers.get("Authorization") or "Bearer token-1"
        if handler.path == "/v2/" or int(sent.removeprefix("Bearer token")) + 1 >= needed:
            return False
        challenge = f'Bearer realm="{realm}"'
        handler.refuse(401, "UNAUTHORIZED", "who", **{"WWW-Authenticate": challenge})
        return True

    played.hooks.append(ran_out)
    pull(played, blobs, Credentials())
    assert len(given) == 3


def test_an_identity_token_is_posted(
    played: Played, elsewhere: Played, blobs: Blobs, tmp_path: Path
) -> None:
    played.add_image("t", b"x")
    bodies: list[bytes] = []

    def answer(handler: Handler) -> None:
        bodies.append(handler.rfile.read(int(handler.headers["Content-Length"])))
        handler.answer(200, b'{"access_token": "good"}')

    guard(played, lambda sent: sent == "Bearer good", f'Bearer realm="{tokens(elsewhere, answer)}"')
    pull(played, blobs, login(tmp_path, played.host, identitytoken="idtok"))
    assert parse_qs(bodies[0].decode())["refresh_token"] == ["idtok"]
    assert elsewhere.requests[0][0] == "POST"


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"token": "a\\r\\nb: c"}'])
def test_what_is_no_token(played: Played, elsewhere: Played, blobs: Blobs, content: bytes) -> None:
    played.add_image("t", b"x")
    realm = tokens(elsewhere, lambda handler: handler.answer(200, content))
    guard(played, lambda _: False, f'Bearer realm="{realm}"')
    with pytest.raises(ImageError, match="gives no token"):
        pull(played, blobs, Credentials())


@pytest.mark.parametrize("realm", ["", "file:///etc/passwd", "ftp://h/", "token"])
def test_a_realm_that_is_no_address(played: Played, blobs: Blobs, realm: str) -> None:
    played.add_image("t", b"x")
    guard(played, lambda _: False, f'Bearer realm="{realm}"')
    with pytest.raises(ImageError, match="not https"):
        pull(played, blobs, Credentials())


def test_no_other_host_sees_the_account(
    played: Played, elsewhere: Played, blobs: Blobs, tmp_path: Path
) -> None:
    image = played.add_image("t", b"content")
    elsewhere.add_image("t", b"content")
    guard(played, lambda sent: sent == _BASIC, 'Basic realm="r"')

    def lead(handler: Handler) -> bool:
        if "/blobs/" not in handler.path:
            return False
        handler.answer(307, b"", Location=f"http://{elsewhere.host}{handler.path}")
        return True

    played.hooks.append(lead)
    pull(played, blobs, login(tmp_path, played.host))
    assert blobs.has(image.layers[0].digest)
    assert elsewhere.requests
    assert sent_to(elsewhere) == {None}


def test_a_real_registry_with_passwords(guarded: str, blobs: Blobs, tmp_path: Path) -> None:
    source = Played()
    image = source.add_image("t", b"one", b"two")
    pull(source, blobs, Credentials())
    source.close()
    reference = parse(f"{guarded}/a:t")
    known = login(tmp_path, guarded)
    assert push(image, blobs, reference, Registries(), known, patience=HASTY) == image.digest
    other = Blobs(tmp_path / "other")
    assert fetch(reference, "linux/amd64", other, Registries(), known) == image
    wrong = login(tmp_path, guarded, b"ann:wrong")
    with pytest.raises(ImageError, match="refuses the account ann"):
        fetch(reference, "linux/amd64", Blobs(tmp_path / "third"), Registries(), wrong)
