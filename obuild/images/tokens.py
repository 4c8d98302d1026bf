"""Being let in: basic authentication and bearer tokens.

The exchange is that of the distribution project ("Token Authentication Specification",
"Oauth2 Token Authentication"): a refused request names a realm, which gives a token for it.
A token may run out in the middle; then the next refusal gets a new one.
"""

from __future__ import annotations

import json
from base64 import b64encode
from threading import Lock
from urllib.parse import urlencode, urlsplit

from obuild.errors import ImageError
from obuild.images.connections import Answer, Body, Connections
from obuild.images.credentials import Account, Credentials
from obuild.images.faults import refusal
from obuild.images.registries import Endpoint

__all__ = ["Authorization"]

_MOST = 1 << 20


class Authorization:
    """The header for one registry, shared by the threads that talk with it.

    ``scopes`` are what is wanted of it: ``repository:NAME:ACTION,ACTION``.
    """

    def __init__(
        self,
        connections: Connections,
        endpoint: Endpoint,
        credentials: Credentials,
        scopes: tuple[str, ...],
    ):
        self._connections = connections
        self._endpoint = endpoint
        self._credentials = credentials
        self._scopes = scopes
        self._lock = Lock()
        self._header: str | None = None

    @property
    def header(self) -> str | None:
        return self._header

    @property
    def user(self) -> str | None:
        """The account's name, if there is one."""
        account = self._credentials.find(self._endpoint.host)
        return account.user if account is not None else None

    def renew(self, refused: str | None, answer: Answer) -> bool:
        """Get a header other than ``refused``, with which ``answer`` (401) came; False if
        another thread has got one already, which may be at its end, too.

        Raises ``ImageError`` if there is no way in.
        """
        with self._lock:
            if self._header != refused:
                return False
            offered = dict(_challenges(answer.challenges()))
            account = self._credentials.find(self._endpoint.host)
            if "bearer" in offered:
                self._header = f"Bearer {self._token(offered['bearer'], answer.url, account)}"
            elif "basic" in offered and account is not None and refused is None:
                self._header = _basic(account)
            else:
                raise self._refusal(answer)
            return True

    def _refusal(self, answer: Answer) -> ImageError:
        content = answer.start(_MOST)
        return refusal(self._endpoint.host, answer.status, answer.headers, content, self.user)

    def _token(self, challenge: dict[str, str], asked: str, account: Account | None) -> str:
        realm = challenge.get("realm", "")
        self._check(realm, asked)
        scopes = [*self._scopes]
        # What the registry names is ours in other words, or something that it wants besides.
        wanted = challenge.get("scope", "").split()
        scopes += [scope for scope in wanted if not self._includes(scope)]
        fields = [("service", challenge["service"])] if "service" in challenge else []
        verify = self._connections.registries.registry(urlsplit(realm).netloc).verify
        if account is not None and account.identity_token:
            fields += [
                ("grant_type", "refresh_token"),
                ("client_id", "obuild"),
                ("scope", " ".join(scopes)),
                ("refresh_token", account.identity_token),
            ]
            content = urlencode(fields).encode()
            request = self._connections.request(
                "POST",
                realm,
                {"Content-Type": "application/x-www-form-urlencoded"},
                verify=verify,
                body=Body(len(content), lambda: iter((content,))),
                follow=False,
            )
        else:
            fields += [("scope", scope) for scope in scopes]
            if account is not None:
                fields.append(("account", account.user))
            joint = "&" if urlsplit(realm).query else "?"
            headers = {} if account is None else {"Authorization": _basic(account)}
            url = f"{realm}{joint}{urlencode(fields)}"
            request = self._connections.request("GET", url, headers, verify=verify)
        with request as answer:
            if answer.status != 200:
                raise self._refusal(answer)
            return self._read(answer)

    def _check(self, realm: str, asked: str) -> None:
        """A password goes over https, unless the registry itself is without."""
        scheme = urlsplit(realm).scheme
        if scheme == "https" or (scheme == "http" and urlsplit(asked).scheme == "http"):
            return
        raise ImageError(
            f"{self._endpoint.host} wants its tokens asked for at {realm[:200]!r}, "
            "which is not https",
            hint="see whether the registry is set up well",
        )

    def _includes(self, scope: str) -> bool:
        """Whether our own scopes ask for all that ``scope`` does."""
        name, _, actions = scope.rpartition(":")
        for own in self._scopes:
            own_name, _, own_actions = own.rpartition(":")
            if own_name == name and set(actions.split(",")) <= set(own_actions.split(",")):
                return True
        return False

    def _read(self, answer: Answer) -> str:
        try:
            found = json.loads(answer.content(_MOST))
            token = found.get("token") or found.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise ImageError(
                f"{urlsplit(answer.url).netloc} gives no token for {self._endpoint.host}",
                hint="see whether a proxy answers in its place",
            )
        return token


def _basic(account: Account) -> str:
    pair = f"{account.user}:{account.password}".encode()
    return f"Basic {b64encode(pair).decode()}"


def _challenges(headers: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Schemes in lower case, with their parameters (RFC 9110, 11.6.1)."""
    from urllib.request import parse_http_list, parse_keqv_list

    found: list[tuple[str, list[str]]] = []
    for item in (item for header in headers for item in parse_http_list(header)):
        scheme, blank, rest = item.partition(" ")
        if "=" not in scheme:  # a new challenge begins
            found.append((scheme.lower(), []))
            item = rest if blank else ""
        if found and "=" in item:
            found[-1][1].append(item.strip())
    return [(scheme, parse_keqv_list(items)) for scheme, items in found]
