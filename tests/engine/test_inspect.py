"""What an image is, by a small look at a real daemon, without the SDK."""

from __future__ import annotations

from docker import APIClient

from obuild.engine.docker.glance import inspect
from obuild.engine.docker.images import resolved_here


def test_images_as_the_sdk_sees_them(engine_host: str, api: APIClient, base_image: str) -> None:
    names = [base_image, "obuild-test/nonesuch:1", "No Name?\udcff", base_image]
    found = inspect(engine_host, {}, names)
    assert found is not None
    assert [one is not None for one in found] == [True, False, False, True]
    assert found[0] == api.inspect_image(base_image)
    resolved = resolved_here(base_image, None, found[0] or {})
    assert resolved is not None
    assert resolved.id == api.inspect_image(base_image)["Id"]
    assert resolved_here(base_image, "plan9/mips", found[0] or {}) is None


def test_connections_that_cannot_be_looked_at() -> None:
    assert inspect("ssh://somewhere", {}, ["x"]) is None
