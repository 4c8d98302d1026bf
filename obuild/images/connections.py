"""HTTP to registries: deadlines, redirects, proxies, certificates, and an end at any time.

The one place that knows urllib3. Every open socket is known, so that ``stop`` can shut them
all: whoever waits for one, in whatever thread, is woken at once. Nothing is taken from the
environment.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from weakref import WeakSet

from obuild.errors import Cancelled, ImageError
from obuild.images.faults import describe
from obuild.images.registries import Registries
from obuild.values import Value

if TYPE_CHECKING:
    from ssl import SSLContext

    from urllib3 import BaseHTTPResponse, PoolManager

__all__ = ["PATIENCE", "Answer", "Body", "Connections", "Patience"]

_PIECE = 1 << 18
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 10
_KEPT = 4


class Patience(Value):
    """Seconds: for a connection, for silence on it, between the tries of a blob, and the
    longest that a registry may ask us to wait before we ask again."""

    connect: float = 10.0
    silence: float = 60.0
    pauses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    longest_wait: float = 30.0


PATIENCE = Patience()


class Body(Value):
    """What a request sends: ``length`` bytes, that ``pieces()`` yields anew at each call."""

    length: int
    pieces: Callable[[], Iterator[bytes]]


class Answer:
    """The answer to a request; its body is read once. Reading raises ``ImageError``."""

    def __init__(self, url: str, response: BaseHTTPResponse, connections: Connections):
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._connections = connections

    def challenges(self) -> list[str]:
        """The ways to be let in that it offers."""
        return list(self._response.headers.getlist("WWW-Authenticate"))

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes. It may end early without an error: count the bytes."""
        while True:
            with self._connections.translated(self.url):
                piece = self._response.read1(_PIECE, decode_content=False)
            if not piece:
                return
            yield piece

    def content(self, limit: int) -> bytes:
        """The whole body; ``ImageError`` if it has more than ``limit`` bytes."""
        parts, size = [], 0
        for piece in self.pieces():
            parts.append(piece)
            size += len(piece)
            if size > limit:
                host = urlsplit(self.url).netloc
                raise ImageError(
                    f"{host} answers with more than {limit} bytes where a small document is due",
                    hint=f"see whether {host} is the registry that is meant",
                )
        return b"".join(parts)

    def start(self, limit: int) -> bytes:
        """At most ``limit`` bytes of the body, for a message."""
        parts, size = [], 0
        for piece in self.pieces():
            parts.append(piece)
            size += len(piece)
            if size >= limit:
                break
        return b"".join(parts)[:limit]

    def close(self) -> None:
        """What was not read is not waited for."""
        if self._response.length_remaining == 0:
            self._response.drain_conn()  # only http.client does not know yet that it is read
            self._response.release_conn()
        else:
            self._response.close()


class Connections:
    """Connections to any host. May be used by several threads at once."""

    def __init__(self, registries: Registries, patience: Patience):
        self.registries = registries
        self.patience = patience
        self._stopped = Event()
        self._lock = Lock()
        self._sockets: WeakSet[Any] = WeakSet()
        self._managers: dict[tuple[object, ...], PoolManager] = {}

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        verify: bool = True,
        body: Body | None = None,
        follow: bool = True,
    ) -> Iterator[Answer]:
        """The answer, whatever its status, after redirects (unless ``follow`` is False).

        ``Authorization`` goes to the first host only. Raises ``ImageError``, with
        ``passing`` where another try makes sense, and ``Cancelled`` after ``stop``.
        """
        origin = _origin(url)
        for _ in range(_MOST_REDIRECTS):
            if _origin(url) != origin:
                headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
            trusted = verify or _origin(url) != origin
            answer = self._send(method, url, headers, trusted, body)
            try:
                target = answer.headers.get("Location")
                if not (follow and answer.status in _REDIRECTS and target):
                    yield answer
                    return
            finally:
                answer.close()
            url = self._next(url, target, verify=verify)
        raise ImageError(
            f"{urlsplit(url).netloc} leads from one address to another without end",
            hint="see whether the registry, or a proxy before it, is set up well",
        )

    def pause(self, seconds: float) -> None:
        """Raises ``Cancelled`` as soon as all is stopped."""
        if self._stopped.wait(seconds):
            raise Cancelled("the transfer was cancelled")

    def stop(self) -> None:
        """End all requests, in all threads; new ones raise ``Cancelled``."""
        self._stopped.set()
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            _shut(each)

    def close(self) -> None:
        with self._lock:
            managers, self._managers = list(self._managers.values()), {}
        for manager in managers:
            manager.clear()

    @contextmanager
    def translated(self, url: str) -> Iterator[None]:
        """The table from foreign exceptions to ours."""
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (HTTPError, OSError, ValueError) as error:
            if self._stopped.is_set():
                raise Cancelled("the transfer was cancelled") from error
            raise describe(urlsplit(url).netloc, error, self.patience.silence) from error

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], verify: bool, body: Body | None
    ) -> Answer:
        from urllib3 import Timeout

        self.pause(0)
        sent = {"Accept-Encoding": "identity", "User-Agent": "obuild", **headers}
        if body is not None:
            sent["Content-Length"] = str(body.length)
        with self.translated(url):
            response = self._manager(url, verify).request(
                method,
                url,
                body=body.pieces() if body is not None and body.length else None,
                headers=sent,
                timeout=Timeout(self.patience.connect, self.patience.silence),
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
            )
        return Answer(url, response, self)

    def _next(self, url: str, target: str, *, verify: bool) -> str:
        found = urljoin(url, target)
        old, new = urlsplit(url).scheme, urlsplit(found).scheme
        if new not in ("http", "https") or (verify and old == "https" and new == "http"):
            raise ImageError(
                f"{urlsplit(url).netloc} leads from {old} to {new}",
                hint="a registry whose content may come over plain http must be called insecure",
            )
        return found

    def _manager(self, url: str, verify: bool) -> PoolManager:
        parts = urlsplit(url)
        proxy = self.registries.proxies.proxy(parts.scheme, parts.hostname or "")
        folder = self._folder(parts.netloc) if parts.scheme == "https" else None
        with self._lock:
            manager = self._managers.get((verify, proxy, folder))
            if manager is None:
                manager = self._make(proxy, _context(verify, folder))
                self._managers[verify, proxy, folder] = manager
            return manager

    def _folder(self, host: str) -> str | None:
        """Where the host's own certificates are."""
        if self.registries.certificates is None:
            return None
        found = os.path.join(self.registries.certificates, host)
        return found if os.path.isdir(found) else None

    def _make(self, proxy: str | None, context: SSLContext) -> PoolManager:
        from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
        from urllib3.connection import HTTPConnection, HTTPSConnection

        manager = (
            PoolManager(maxsize=_KEPT, ssl_context=context)
            if proxy is None
            else ProxyManager(proxy, maxsize=_KEPT, ssl_context=context)
        )
        connected, silence = self._connected, self.patience.silence

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                connected(self.sock, silence)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                self.is_verified = True  # as far as its context wants it; else urllib3 warns
                connected(self.sock, silence)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
        return manager

    def _connected(self, opened: Any, silence: float) -> None:
        opened.settimeout(silence)  # the deadline of the connection would hold for sending
        with self._lock:
            self._sockets.add(opened)
        if self._stopped.is_set():
            _shut(opened)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _shut(opened: Any) -> None:
    """Both ways, below TLS: it cannot be said there that this is the end."""
    try:
        with socket.socket(fileno=os.dup(opened.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)
    except OSError:  # closed meanwhile, from either side: that is what is wanted
        return


def _context(verify: bool, folder: str | None) -> SSLContext:
    """The authorities of the system, and those of ``folder``."""
    import ssl

    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for name in sorted(os.listdir(folder)) if folder is not None else ():
        path = os.path.join(folder or "", name)
        try:
            if name.endswith(".crt"):
                context.load_verify_locations(path)
            elif name.endswith(".cert"):
                context.load_cert_chain(path, path.removesuffix(".cert") + ".key")
        except OSError as error:
            raise ImageError(
                f"the certificate {path} cannot be used: {error.strerror or error}",
                hint="it must be PEM; a client's NAME.cert has its key beside it, as NAME.key",
            ) from error
    return context
