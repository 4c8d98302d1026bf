"""Names of images, as Docker reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obuild.errors import ImageError
from obuild.images.reference import Reference, parse

_DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1", "docker.io/library/busybox:1", "busybox:1"),
        ("ann/tool", "docker.io/ann/tool:latest", "ann/tool:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/ann/a", "docker.io/ann/a:latest", "ann/a:latest"),
        ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
        ("localhost:5000/a:b", "localhost:5000/a:b", "localhost:5000/a:b"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        ("ghcr.io/a/b/c", "ghcr.io/a/b/c:latest", "ghcr.io/a/b/c:latest"),
        ("Host/a", "Host/a:latest", "Host/a:latest"),
        (f"a@{_DIGEST}", f"docker.io/library/a@{_DIGEST}", f"a@{_DIGEST}"),
        (f"a:b@{_DIGEST}", f"docker.io/library/a:b@{_DIGEST}", f"a:b@{_DIGEST}"),
        ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest", "a__b/c--d.e:latest"),
    ],
)
def test_names_stand_for_what_docker_says(text: str, full: str, familiar: str) -> None:
    found = parse(text)
    assert (found.full, found.familiar) == (full, familiar)
    assert parse(full) == parse(familiar) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Busybox",
        "a//b",
        "/a",
        "a/",
        "a:",
        "a:b:c",
        "a:.b",
        "a b",
        "a..b",
        "a___b",
        "../../etc",
        "https://host/a",
        "a@sha256:12",
        "a@md5:" + "0" * 32,
        "ab" * 32,
        "a" * 300,
        "-host.x/a",
        "a:" + "t" * 129,
        "a\n",
        "ä",
    ],
)
def test_what_is_no_name_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse(text)
    assert "lower case" in (caught.value.hint or "")


def test_the_digest_is_what_the_registry_is_asked_for() -> None:
    assert parse(f"a:b@{_DIGEST}").target == _DIGEST
    assert parse("a:b").target == "b"


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_an_image_error(text: str) -> None:
    try:
        found = parse(text)
    except ImageError:
        return
    assert isinstance(found, Reference)
    assert parse(found.full) == found
