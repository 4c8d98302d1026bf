"""What can go wrong with a registry, as ``ImageError``: the words, the hint, and whether it
passes (``EngineError.passing``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from obuild.errors import ImageError

__all__ = ["Refused", "concerning", "describe", "excerpt", "refusal"]

_WRONG_NAME = "see whether the name and the tag are right"
_CERTIFICATE = (
    "put the certificate of its authority into /etc/docker/certs.d/{host}/ca.crt, "
    "or call {host} insecure"
)
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_WORDS = 300


class Refused(ImageError):
    """A registry's answer that is none: ``status`` of HTTP, ``wait`` in seconds as the
    registry asks for (``Retry-After``), None if it does not."""

    status: int = 0
    wait: float | None = None


def describe(host: str, error: Exception, silence: float) -> ImageError:
    """The error for an exception of the system or of urllib3 while talking with ``host``."""
    from urllib3.exceptions import (
        ConnectTimeoutError,
        LocationValueError,
        NameResolutionError,
        NewConnectionError,
        ProxyError,
        ReadTimeoutError,
        SSLError,
    )

    hint: str | None = "see whether the network is up, and whether the registry answers"
    passing = True
    match error:
        case NameResolutionError():
            words = f"there is no host {host} that is known"
            hint = "see whether the name is right and the network is up"
        case NewConnectionError():
            words = f"{host} cannot be reached: {_cause(error)}"
        case ConnectTimeoutError():
            words = f"{host} cannot be reached: no connection in time"
        case ReadTimeoutError() | TimeoutError():
            words = f"{host} does not answer: nothing came in {silence:g} s"
        case ProxyError():
            words = f"the proxy before {host} fails: {_cause(error)}"
            hint = "see HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
        case SSLError():
            words = f"{host} has no safe connection: {_cause(error)}"
            hint = _CERTIFICATE.format(host=host)
            passing = False
        case LocationValueError() | UnicodeError():
            words = f"{host} is no address: {error}"
            passing = False
        case _:
            words = f"the connection to {host} broke: {_cause(error)}"
    made = ImageError(words, hint=hint)
    made.passing = passing
    return made


def _cause(error: BaseException) -> str:
    """The innermost reason: libraries wrap what the system said several times."""
    found: BaseException = error
    seen = [error]
    while True:
        inner = found.__cause__ or found.__context__
        arguments = [arg for arg in found.args if isinstance(arg, BaseException)]
        following = inner or (arguments[-1] if arguments else None)
        if following is None or following in seen:
            break
        found = following
        seen.append(found)
    for each in reversed(seen):
        if isinstance(each, OSError) and each.strerror:
            return each.strerror.lower()
    return excerpt(str(found).encode()) or type(found).__name__


def excerpt(content: bytes) -> str:
    """The start of something unknown, in one printable line."""
    text = " ".join(content[:_WORDS].decode("utf-8", "replace").split())
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def refusal(
    host: str, status: int, headers: Mapping[str, str], content: bytes, user: str | None
) -> Refused:
    """The error for an answer of ``status``; ``user`` is the account that was used, if any.

    The form of a registry's own words is that of the OCI distribution specification
    ("Error Codes"); anything else is quoted.
    """
    words = _registry_words(content) or f"HTTP status {status}"
    if status in (401, 403):
        who = (
            f"{host} refuses the account {user}"
            if user
            else f"{host} refuses whoever has no account"
        )
        made = Refused(f"{who}: {words}", hint=_login(host, user))
    elif status == 404:
        made = Refused(f"{host} does not have it: {words}", hint=_WRONG_NAME)
    else:
        hint = "it has a limit; an account may have a higher one" if status == 429 else None
        made = Refused(f"{host} answers: {words}", hint=hint)
    made.status = status
    made.passing = status in _PASSING
    made.wait = _seconds(headers.get("Retry-After"))
    return made


def _login(host: str, user: str | None) -> str:
    name = "" if host == "docker.io" else f" {host}"
    if user:
        return f"`docker login{name}` with an account that may do it"
    return f"see whether the name is right; else `docker login{name}`"


def _registry_words(content: bytes) -> str:
    import json

    try:
        found = json.loads(content)
    except ValueError:
        return excerpt(content)
    errors = found.get("errors") if isinstance(found, dict) else None
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        said = (str(errors[0].get(name) or "") for name in ("code", "message"))
        return excerpt(": ".join(word for word in said if word).encode()[:_WORDS])
    if isinstance(found, dict) and (details := found.get("details") or found.get("message")):
        return excerpt(str(details).encode()[:_WORDS])
    return excerpt(content)


def _seconds(text: str | None) -> float | None:
    """``Retry-After``, which is seconds or a date (RFC 9110, 10.2.3)."""
    import time
    from email.utils import parsedate_to_datetime

    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


@contextmanager
def concerning(what: str) -> Iterator[None]:
    """Errors of registries get ``what`` before their words: the image that it is about."""
    try:
        yield
    except ImageError as error:
        made = ImageError(f"{what}: {error.message}", hint=error.hint, place=error.place)
        made.passing = error.passing
        raise made from error
