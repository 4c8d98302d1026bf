"""Where registries answer: mirrors, plain http, certificates and proxies, as settings.

The rules are Docker's (``dockerd`` reference: ``registry-mirrors``, ``insecure-registries``,
``/etc/docker/certs.d``): a registry of this machine, or one that is called insecure, may
speak https with any certificate, or plain http.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from obuild.errors import ImageError
from obuild.images.reference import DOCKER_HUB
from obuild.values import Value

__all__ = ["Endpoint", "Proxies", "Registries", "from_daemon", "from_environment"]

_HUB_ADDRESS = "https://registry-1.docker.io"
_NONE: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Proxies(Value):
    """URLs of proxies for http and for https, None: none. ``bypass``: hosts that are reached
    without: names with all below them, ``*``, addresses, and networks as ``10.0.0.0/8``."""

    http: str | None = None
    https: str | None = None
    bypass: tuple[str, ...] = ()

    def proxy(self, scheme: str, host: str) -> str | None:
        """The proxy for a host (without port), None if it is reached without."""
        if _is_loopback(host) or any(_covers(entry, host) for entry in self.bypass):
            return None
        return self.https if scheme == "https" else self.http


class Registries(Value):
    """``mirrors``: for a host, the URLs that are tried before it. ``insecure``: hosts, with
    port if they have one, and networks. ``certificates``: a folder with one folder per host,
    in which are ``*.crt`` of authorities and pairs ``*.cert`` and ``*.key`` of clients."""

    mirrors: Mapping[str, tuple[str, ...]] = _NONE
    insecure: tuple[str, ...] = ()
    certificates: str | None = None
    proxies: Proxies = Proxies()

    def endpoints(self, host: str) -> tuple[Endpoint, ...]:
        """Where to pull from, the registry itself last. Raises ``ImageError`` for a mirror
        that is no http or https URL."""
        mirrors = (self._mirror(url) for url in self.mirrors.get(host, ()))
        return (*mirrors, self.registry(host))

    def registry(self, host: str) -> Endpoint:
        """The registry itself."""
        if host == DOCKER_HUB:
            return Endpoint(host, (_HUB_ADDRESS,))
        secure, plain = f"https://{host}", f"http://{host}"
        if _is_loopback(_name(host)):
            return Endpoint(host, (plain, secure), verify=False)
        if self._is_insecure(host):
            return Endpoint(host, (secure, plain), verify=False)
        return Endpoint(host, (secure,))

    def _mirror(self, url: str) -> Endpoint:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
            raise ImageError(
                f"the mirror {url!r} cannot be used",
                hint="a mirror is http://HOST[:PORT] or https://HOST[:PORT]",
            )
        base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        verify = not (_is_loopback(_name(parts.netloc)) or self._is_insecure(parts.netloc))
        return Endpoint(parts.netloc, (base,), verify=verify, mirror=True)

    def _is_insecure(self, host: str) -> bool:
        return any(entry == host or _in_network(entry, _name(host)) for entry in self.insecure)


class Endpoint(Value):
    """A registry, or a mirror of one. ``bases``: the URLs before ``/v2/`` at which it may
    answer, in the order in which they are tried. ``verify``: its certificate must be good."""

    host: str
    bases: tuple[str, ...]
    verify: bool = True
    mirror: bool = False


def from_daemon(settings: Mapping[str, object], certificates: str | None = None) -> Registries:
    """The settings of a ``daemon.json``, whose mirrors are those of ``docker.io``.

    Raises ``ImageError`` if the two lists are no lists of texts.
    """
    mirrors = _texts(settings, "registry-mirrors")
    insecure = _texts(settings, "insecure-registries")
    return Registries({DOCKER_HUB: mirrors} if mirrors else {}, insecure, certificates)


def from_environment(environ: Mapping[str, str]) -> Proxies:
    """What ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` say, in capitals or not."""

    def value(name: str) -> str | None:
        return environ.get(name) or environ.get(name.lower()) or None

    bypass = (entry.strip() for entry in (value("NO_PROXY") or "").split(","))
    return Proxies(
        value("HTTP_PROXY"), value("HTTPS_PROXY"), tuple(entry for entry in bypass if entry)
    )


def _texts(settings: Mapping[str, object], name: str) -> tuple[str, ...]:
    found = settings.get(name, [])
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise ImageError(
            f"{name} of the daemon's settings is no list of texts", hint="see daemon.json"
        )
    return tuple(found)


def _name(host: str) -> str:
    """A host without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return name.lower() == "localhost" if address is None else address.is_loopback


def _in_network(entry: str, name: str) -> bool:
    address = _address(name)
    if address is None or "/" not in entry:
        return False
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _covers(entry: str, name: str) -> bool:
    """Whether an entry of ``NO_PROXY`` is about a host."""
    plain = _name(entry).lower().removeprefix("*").removeprefix(".")
    below = name.lower().endswith(f".{plain}") and plain != ""
    return entry == "*" or name.lower() == plain or below or _in_network(entry, name)
