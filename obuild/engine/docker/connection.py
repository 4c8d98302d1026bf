"""The connection to the daemon, and the one place that knows the SDK's exceptions.

- A client of the SDK is not safe to share: each call borrows one and gives it back, so no
  two threads ever have the same. A client that met an error is not used again.
- Ordinary calls have a deadline by the SDK. Calls that may rightly take long (a commit, a
  load, waiting for a command) run in a thread of their own while this one looks every few
  seconds whether the daemon still answers: a daemon that is stopped in the middle is found
  out, a slow one is not given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, TypeVar

from obuild.engine.docker.address import Address, unavailable
from obuild.errors import Cancelled, EngineError, EngineUnavailable, ObuildError

if TYPE_CHECKING:
    from docker import APIClient
    from docker.tls import TLSConfig
    from requests import Response

__all__ = ["Connection", "DaemonError", "request"]

_Value = TypeVar("_Value")

_ANY_VERSION = "1.41"
_LOOK = 0.2
_PING_EVERY = 5.0

_HINTS = (
    (
        "no space left",
        "see `docker system df`; `obuild clean` and `docker system prune` free space",
    ),
    ("max depth exceeded", "the image has got more layers meanwhile; start again"),
    ("network", "see `docker network ls` for the networks that there are"),
    ("invalid mount config", None),
)
"""Words of the daemon, and what a person can do about it."""


class DaemonError(EngineError):
    """The daemon answered with ``status`` (HTTP) and said why: ``words``."""

    def __init__(self, status: int, words: str):
        lower = words.lower()
        hint = next((hint for word, hint in _HINTS if word in lower), None)
        super().__init__(f"the Docker daemon says: {words}", hint=hint)
        self.status = status
        self.words = words


def request(
    client: APIClient, method: str, path: str, query: str = "", *, stream: bool = False
) -> Response:
    """A request that the SDK has no method for. Raises ``DaemonError`` for a refusal.

    ``query`` is encoded already; ``stream``: the caller closes the response.
    """
    url = f"{client.base_url}/v{client.api_version}{path}"
    plain = {"Accept-Encoding": "identity"}
    response = client.request(
        method,
        f"{url}?{query}" if query else url,
        headers=plain,
        stream=stream,
        timeout=client.timeout,
    )
    if response.ok:
        return response
    with response:
        try:
            words = response.json()["message"]
        except (ValueError, KeyError, TypeError):
            words = response.text.strip() or f"status {response.status_code}"
    raise DaemonError(response.status_code, words)


def _need_ssh() -> None:
    """The SDK fails with a NameError where its extra for ssh is not installed."""
    from importlib.util import find_spec

    if find_spec("paramiko") is None:
        raise EngineUnavailable(
            "a daemon behind ssh needs the package paramiko",
            hint="install obuild with its extra: pip install 'obuild[ssh]'",
        )


class Connection:
    """Borrows clients of the SDK. ``timeout`` is the deadline of ordinary calls in seconds."""

    def __init__(self, address: Address, timeout: float):
        self.address = address
        self.timeout = timeout
        self._lock = Lock()
        self._free: list[APIClient] = []
        self._version: str | None = None
        self._closed = False

    @contextmanager
    def client(self) -> Iterator[APIClient]:
        """A client for this thread alone; raises ``EngineError`` for the SDK's own errors."""
        client: APIClient | None = None
        try:
            client = self._borrow()
            yield client
        except BaseException as error:
            translated = None if isinstance(error, ObuildError) else self._translate(error)
            if isinstance(translated or error, DaemonError) and client is not None:
                self._give_back(client)
            elif client is not None:
                client.close()
            if translated is None:
                raise
            raise translated from error
        self._give_back(client)

    def ask(self, call: Callable[[APIClient], _Value]) -> _Value:
        """The result of one ordinary call."""
        with self.client() as client:
            return call(client)

    def ping(self) -> None:
        """Raises ``EngineUnavailable`` if the daemon does not answer by the deadline."""
        with self.client() as client:
            client.ping()

    def patiently(self, call: Callable[[APIClient], _Value], cancel: Event | None = None) -> _Value:
        """The result of a call that may take long.

        Raises ``EngineUnavailable`` as soon as the daemon stops answering others, and
        ``Cancelled`` when ``cancel`` is set; the call itself then ends with its connection.
        """
        results: list[_Value] = []
        errors: list[BaseException] = []
        done = Event()

        def work() -> None:
            try:
                with self.client() as client:
                    usual, client.timeout = client.timeout, None  # type: ignore[assignment]
                    try:
                        results.append(call(client))
                    finally:
                        client.timeout = usual
            except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
                errors.append(error)
            finally:
                done.set()

        Thread(target=work, daemon=True, name="obuild-docker-call").start()
        self._watch(done, cancel)
        if errors:
            raise errors[0]
        return results[0]

    def version(self) -> tuple[int, int]:
        """The API version that the daemon speaks, as numbers."""
        with self._lock:
            if self._version is None:
                self._version = self._negotiate()
            major, _, minor = self._version.partition(".")
        return int(major), int(minor)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for client in free:
            client.close()

    def _watch(self, done: Event, cancel: Event | None) -> None:
        looked = time.monotonic()
        while not done.wait(_LOOK):
            if cancel is not None and cancel.is_set():
                raise Cancelled("cancelled")
            if time.monotonic() - looked > _PING_EVERY:
                self.ping()
                looked = time.monotonic()

    def _borrow(self) -> APIClient:
        with self._lock:
            if self._free:
                return self._free.pop()
            if self._version is None:
                self._version = self._negotiate()
        return self._make(self._version)

    def _give_back(self, client: APIClient) -> None:
        with self._lock:
            if not self._closed:
                self._free.append(client)
                return
        client.close()

    def _make(self, version: str) -> APIClient:
        from docker import APIClient

        if self.address.url.startswith("ssh://"):
            _need_ssh()
        timeout = self.timeout
        return APIClient(
            base_url=self.address.url,
            version=version,
            timeout=timeout,  # type: ignore[arg-type]
            tls=self._tls(),
        )

    def _tls(self) -> bool | TLSConfig:
        tls = self.address.tls
        if tls is None:
            return False
        from docker.tls import TLSConfig

        cert = (tls.cert, tls.key) if tls.cert and tls.key else None
        return TLSConfig(client_cert=cert, ca_cert=tls.ca, verify=tls.verify)

    def _negotiate(self) -> str:
        """The API version to speak: the daemon's own, which a ping tells fastest."""
        client = self._make(_ANY_VERSION)
        try:
            answer = client.get(f"{client.base_url}/_ping", timeout=self.timeout)
            version = answer.headers.get("Api-Version")
        finally:
            client.close()
        if version is None:
            error = unavailable(self.address, "what answers is no Docker daemon")
            error.passing = False
            raise error
        return str(version)

    def _translate(self, error: BaseException) -> ObuildError | None:
        """The table from foreign exceptions to ours; None for what is not the daemon's."""
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        if isinstance(error, APIError):
            words = (error.explanation or str(error)).strip()
            return DaemonError(error.status_code or 0, words)
        if isinstance(error, RequestException | HTTPError | DockerException | OSError | EOFError):
            return unavailable(self.address, self._cause(error))
        return None

    def _cause(self, error: BaseException) -> BaseException | str:
        """The innermost reason: libraries wrap what the system said several times."""
        from urllib3.exceptions import ReadTimeoutError

        seen: list[BaseException] = []
        queue: list[object] = [error]
        while queue:
            item = queue.pop(0)
            if not isinstance(item, BaseException) or item in seen or isinstance(item, ObuildError):
                continue  # one of ours was being handled, and is not why
            seen.append(item)
            if isinstance(item, TimeoutError | ReadTimeoutError):
                return TimeoutError(None, f"no answer within {self.timeout:g} s")
            queue.extend((item.__cause__, item.__context__, *item.args))
        system = [item for item in seen if isinstance(item, OSError) and item.errno]
        return system[-1] if system else str(seen[-1]) or type(error).__name__
