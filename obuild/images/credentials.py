"""Accounts at registries, as ``docker login`` keeps them in its ``config.json``.

What the file says, and how credential helpers are asked, is left to the Docker SDK. It is
imported only if the file has something to say.
"""

from __future__ import annotations

from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from obuild.errors import ImageError, ObuildError
from obuild.images.reference import DOCKER_HUB
from obuild.values import Value, field

__all__ = ["Account", "Credentials"]

_ENTRIES = ("auths", "credHelpers", "credsStore")
_HELPER_DEADLINE = 60.0


class Account(Value):
    """Name and password, or an identity token that stands for both."""

    user: str
    password: str = field(default="", repr=False)
    identity_token: str | None = field(default=None, repr=False)


class Credentials:
    """The accounts that the file ``path`` knows (None, or no such file: none).

    May be used by several threads at once; every host is looked up once.
    """

    def __init__(self, path: Path | None = None):
        self._path = path
        self._lock = Lock()
        self._found: dict[str, Account | None] = {}

    def find(self, host: str) -> Account | None:
        """The account for a registry's host. Raises ``ImageError`` if the file cannot be
        understood, or a helper that it names fails or does not answer within a minute."""
        if self._path is None:
            return None
        with self._lock:
            if host not in self._found:
                self._found[host] = self._look_up(self._path, host)
            return self._found[host]

    def _look_up(self, path: Path, host: str) -> Account | None:
        settings = _settings(path)
        if settings is None:
            return None
        answers: list[Account | ObuildError | None] = []
        done = Event()

        def work() -> None:
            try:
                answers.append(_resolve(settings, path, host))
            except ObuildError as error:
                answers.append(error)
            finally:
                done.set()

        # The SDK waits for a helper as long as that takes, which may be for a person's word.
        Thread(target=work, daemon=True, name="obuild-credentials").start()
        if not done.wait(_HELPER_DEADLINE):
            raise _bad(path, f"the credential helper for {host} does not answer")
        if isinstance(answers[0], ObuildError):
            raise answers[0]
        return answers[0]


def _settings(path: Path) -> dict[str, Any] | None:
    """What the file says about accounts, None if that is nothing."""
    import json

    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _bad(path, f"it is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise _bad(path, "it is no JSON object")
    entries = {name: content[name] for name in _ENTRIES if content.get(name)}
    return entries or None


def _resolve(settings: dict[str, Any], path: Path, host: str) -> Account | None:
    import warnings

    from docker.auth import AuthConfig
    from docker.errors import DockerException

    registry = None if host == DOCKER_HUB else host
    try:
        with warnings.catch_warnings():  # what it warns of, it then fails with
            warnings.simplefilter("ignore")
            found = AuthConfig.load_config(None, settings).resolve_authconfig(registry)
    except DockerException as error:
        raise _bad(path, str(error)) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # The SDK trusts the file's form, and the helper's answer.
        raise _bad(path, f"its entry for {host} has a wrong form") from error
    if not found:
        return None
    entry = {name.lower(): value for name, value in found.items()}
    if entry.get("identitytoken"):
        return Account(entry.get("username") or "<token>", "", entry["identitytoken"])
    if not entry.get("username"):
        return None
    return Account(entry["username"], entry.get("password") or "")


def _bad(path: Path, why: str) -> ImageError:
    return ImageError(
        f"the accounts in {path} cannot be used: {why}",
        hint="mend the file, or remove it and use `docker login` again",
    )
