"""Settings: mirrors, plain http, proxies."""

from __future__ import annotations

import pytest

from obuild.errors import ImageError
from obuild.images.registries import (
    Endpoint,
    Proxies,
    Registries,
    from_daemon,
    from_environment,
)


def test_docker_hub_has_its_own_address() -> None:
    found = Registries().endpoints("docker.io")
    assert found == (Endpoint("docker.io", ("https://registry-1.docker.io",)),)


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.9.9.9:1", "[::1]:5000"])
def test_this_machine_may_speak_plain_http(host: str) -> None:
    found = Registries().registry(host)
    assert found.bases == (f"http://{host}", f"https://{host}")


def test_others_may_not_unless_they_are_called_insecure() -> None:
    settings = from_daemon({"insecure-registries": ["r.example:5000", "10.0.0.0/8"]})
    for host in ("r.example:5000", "10.1.2.3:80"):
        assert settings.registry(host) == Endpoint(
            host, (f"https://{host}", f"http://{host}"), False
        )
    for host in ("r.example", "11.1.2.3", "localhost.example:5000"):
        assert settings.registry(host) == Endpoint(host, (f"https://{host}",))


def test_mirrors_of_the_daemon_are_those_of_docker_hub() -> None:
    settings = from_daemon({"registry-mirrors": ["https://m.example/", "http://n.example:5000"]})
    mirrors = settings.endpoints("docker.io")[:-1]
    assert [mirror.bases[0] for mirror in mirrors] == ["https://m.example", "http://n.example:5000"]
    assert all(mirror.mirror for mirror in mirrors)
    assert len(settings.endpoints("ghcr.io")) == 1


@pytest.mark.parametrize(
    "url", ["m.example", "ftp://m.example", "https://", "https://a:b@m.example"]
)
def test_a_mirror_that_is_none(url: str) -> None:
    with pytest.raises(ImageError, match="mirror"):
        from_daemon({"registry-mirrors": [url]}).endpoints("docker.io")


@pytest.mark.parametrize("value", ["https://m.example", [1], {"a": 1}])
def test_settings_of_a_wrong_form(value: object) -> None:
    with pytest.raises(ImageError, match="registry-mirrors"):
        from_daemon({"registry-mirrors": value})


def test_proxies_and_what_goes_without() -> None:
    environ = {
        "HTTP_PROXY": "http://p:1",
        "https_proxy": "http://p:2",
        "NO_PROXY": "a.example, 10.0.0.0/8,.b.example",
    }
    proxies = from_environment(environ)
    assert proxies.proxy("http", "c.example") == "http://p:1"
    assert proxies.proxy("https", "c.example") == "http://p:2"
    for host in (
        "a.example",
        "x.a.example",
        "b.example",
        "10.1.1.1",
        "localhost",
        "127.0.0.1",
        "::1",
    ):
        assert proxies.proxy("https", host) is None
    assert proxies.proxy("https", "ba.example") == "http://p:2"
    assert Proxies(https="http://p", bypass=("*",)).proxy("https", "x") is None
    assert from_environment({}) == Proxies()
