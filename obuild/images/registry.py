"""One repository of a registry: the requests of the OCI distribution specification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from threading import Lock
from urllib.parse import quote, urlencode, urljoin, urlsplit

from obuild.errors import ImageError
from obuild.images.connections import Answer, Body, Connections
from obuild.images.content import hex_of
from obuild.images.credentials import Credentials
from obuild.images.faults import Refused, refusal
from obuild.images.manifests import ACCEPTED, MOST
from obuild.images.registries import Endpoint
from obuild.images.tokens import Authorization

__all__ = ["Registry"]

_WORDS = 1 << 16
_TRIES = 3
_UNAUTHORIZED = 401
_PARTIAL, _NOT_SATISFIABLE = 206, 416


class Registry:
    """The repository at one endpoint. ``actions``: ``pull`` or ``pull,push``; ``others``:
    repositories beside it from which blobs are mounted.

    All methods raise ``ImageError``: ``Refused`` for an answer that is none, ``passing``
    where another try makes sense; and ``Cancelled`` once the connections are stopped.
    """

    def __init__(
        self,
        connections: Connections,
        endpoint: Endpoint,
        repository: str,
        credentials: Credentials,
        actions: str = "pull",
        others: tuple[str, ...] = (),
    ):
        self.host = endpoint.host
        self.mirror = endpoint.mirror
        self._connections = connections
        self._endpoint = endpoint
        self._repository = repository
        scopes = [f"repository:{repository}:{actions}"]
        scopes += [f"repository:{other}:pull" for other in others]
        self._authorization = Authorization(connections, endpoint, credentials, tuple(scopes))
        self._lock = Lock()
        self._base: str | None = endpoint.bases[0] if len(endpoint.bases) == 1 else None

    def digest(self, target: str) -> str | None:
        """The digest that a tag has now; None if the registry tells it in no header."""
        headers = {"Accept": ACCEPTED}
        with self._ask("HEAD", f"manifests/{target}", headers, expected=(200, 404, 405)) as answer:
            found = answer.headers.get("Docker-Content-Digest")
            if answer.status != 200 or found is None:
                return None
        hex_of(found)
        return found

    def manifest(self, target: str) -> tuple[bytes, str, str]:
        """A manifest or index by tag or digest: its text, its kind, its digest, verified."""
        with self._ask("GET", f"manifests/{target}", {"Accept": ACCEPTED}) as answer:
            document = answer.content(MOST)
            media_type = answer.headers.get("Content-Type") or ""
            told = answer.headers.get("Docker-Content-Digest")
        digest = f"sha256:{sha256(document).hexdigest()}"
        expected = target if ":" in target else told
        if expected is not None and expected.startswith("sha256:") and digest != expected:
            length = answer.headers.get("Content-Length")
            error = ImageError(
                f"{self.host} gives something else than {expected}: its digest is {digest}",
                hint="try again; if it stays so, the registry, or a proxy before it, is broken",
            )
            error.passing = length is not None and length != str(len(document))  # it was cut
            raise error
        return document, media_type, digest

    @contextmanager
    def blob(self, digest: str, offset: int) -> Iterator[tuple[Answer, int]]:
        """The content from ``offset`` on, and where the answer really begins: at ``offset``
        or, where the registry knows no ranges, at 0."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        expected = (200, _PARTIAL, _NOT_SATISFIABLE) if offset else (200,)
        with self._ask("GET", f"blobs/{digest}", headers, expected=expected) as answer:
            if answer.status == 200:
                yield answer, 0
                return
            if answer.status == _PARTIAL and _begins(answer.headers, offset):
                yield answer, offset
                return
        # Neither the rest nor the whole: ask for the whole.
        with self._ask("GET", f"blobs/{digest}", {}) as answer:
            yield answer, 0

    def has_blob(self, digest: str) -> bool:
        with self._ask("HEAD", f"blobs/{digest}", {}, expected=(200, 404)) as answer:
            return answer.status == 200

    def mount(self, digest: str, other: str) -> str | None:
        """Take a blob over from the repository ``other``; else where to upload it."""
        query = urlencode({"mount": digest, "from": other})
        with self._ask("POST", f"blobs/uploads/?{query}", {}, expected=(201, 202)) as answer:
            return None if answer.status == 201 else self._location(answer)

    def begin_upload(self) -> str:
        with self._ask("POST", "blobs/uploads/", {}, expected=(202,)) as answer:
            return self._location(answer)

    def upload(self, location: str, digest: str, body: Body) -> None:
        """The whole blob in one request, to where ``begin_upload`` or ``mount`` said."""
        joint = "&" if urlsplit(location).query else "?"
        url = f"{location}{joint}digest={quote(digest, safe='')}"
        headers = {"Content-Type": "application/octet-stream"}
        with self._ask("PUT", url, headers, expected=(201, 204), body=body):
            return

    def put_manifest(self, target: str, media_type: str, document: bytes) -> None:
        digest = f"sha256:{sha256(document).hexdigest()}"
        body = Body(len(document), lambda: iter((document,)))
        headers = {"Content-Type": media_type}
        path = f"manifests/{target}"
        with self._ask("PUT", path, headers, expected=(201, 202), body=body) as answer:
            told = answer.headers.get("Docker-Content-Digest", digest)
        if told != digest:
            raise ImageError(
                f"{self.host} kept {told[:100]} and not {digest}",
                hint="the registry changes manifests; push to one that does not",
            )

    def _location(self, answer: Answer) -> str:
        found = answer.headers.get("Location")
        if not found:
            raise ImageError(
                f"{self.host} does not say where to upload",
                hint=f"see whether {self.host} is a registry",
            )
        return urljoin(answer.url, found)

    @contextmanager
    def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        expected: tuple[int, ...] = (200,),
        body: Body | None = None,
    ) -> Iterator[Answer]:
        """The answer to a request, if its status is among ``expected``.

        Waits as long as the registry asks for, if that is not long; then the request is
        made again.
        """
        base = self._find_base()
        url = urljoin(f"{base}/v2/{self._repository}/", path)
        fresh, tries = False, 0
        while True:
            own = self._authorization.header if _same_host(url, base) else None
            sent = {**headers, "Authorization": own} if own else headers
            verify = self._endpoint.verify
            with self._connections.request(method, url, sent, verify=verify, body=body) as answer:
                if answer.status in expected:
                    yield answer
                    return
                if answer.status == _UNAUTHORIZED and not fresh:
                    fresh = self._authorization.renew(own, answer)
                    continue
                wait = self._wait(answer, tries)
            tries += 1
            self._connections.pause(wait)

    def _wait(self, answer: Answer, tries: int) -> float:
        """Seconds to wait before the request is made again; raises what the answer means."""
        content = answer.start(_WORDS)
        user = self._authorization.user
        error = refusal(self.host, answer.status, answer.headers, content, user)
        patient = error.wait is not None and error.wait <= self._connections.patience.longest_wait
        if error.passing and patient and tries < _TRIES and not self.mirror:
            return error.wait or 0.0
        raise error

    def _find_base(self) -> str:
        """Where it answers: over https or plain http, found out once."""
        with self._lock:
            if self._base is None:
                self._base = self._probe()
            return self._base

    def _probe(self) -> str:
        failure: ImageError | None = None
        for base in self._endpoint.bases:
            try:
                with self._connections.request("GET", f"{base}/v2/", {}, verify=False) as answer:
                    # A TLS server tells a plain client so with this status.
                    if not (base.startswith("http:") and answer.status == 400):
                        return base
                    failure = Refused(f"{self.host} does not speak http")
            except ImageError as error:
                # That it is down is said of the first way, not of the one for old times' sake.
                failure = failure or error
        raise failure or ImageError(f"{self.host} has no address")


def _same_host(url: str, base: str) -> bool:
    one, other = urlsplit(url), urlsplit(base)
    return (one.scheme, one.netloc.lower()) == (other.scheme, other.netloc.lower())


def _begins(headers: Mapping[str, str], offset: int) -> bool:
    """Whether ``Content-Range`` begins where it was asked to."""
    return (headers.get("Content-Range") or "").strip().startswith(f"bytes {offset}-")
