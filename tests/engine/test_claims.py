"""Whose the objects of a prefix are, on the label of a volume."""

from __future__ import annotations

import pytest
from docker import APIClient

from obuild.engine.docker import DockerEngine
from obuild.errors import StoreError

pytestmark = pytest.mark.engine


def test_claim(engine: DockerEngine, api: APIClient, prefix: str) -> None:
    store = engine.claim(None, "this machine")
    assert len(store) == 32
    assert engine.claim(store, "this machine") == store
    assert engine.claim(None, "this machine") == store
    labels = api.inspect_volume(f"{prefix}-libexec")["Labels"]
    assert labels == {"obuild.store": store, "obuild.machine": "this machine"}
    for store_id, machine in ((None, "other"), (store, "other"), ("f" * 32, "this machine")):
        with pytest.raises(StoreError) as caught:
            engine.claim(store_id, machine)
        assert caught.value.hint


def test_claim_makes_obuilder_s_volume_anew(
    engine: DockerEngine, api: APIClient, prefix: str
) -> None:
    api.create_volume(f"{prefix}-libexec")
    assert engine.claim("a" * 32, "m") == "a" * 32
    assert api.inspect_volume(f"{prefix}-libexec")["Labels"]["obuild.store"] == "a" * 32


def test_claim_leaves_a_volume_in_use(
    engine: DockerEngine, api: APIClient, prefix: str, base_image: str
) -> None:
    volume = f"{prefix}-libexec"
    mounts = api.create_host_config(binds=[f"{volume}:/libexec"])
    container = api.create_container(base_image, ["x"], host_config=mounts)["Id"]
    try:
        with pytest.raises(StoreError, match=volume):
            engine.claim(None, "m")
    finally:
        api.remove_container(container)
