"""The native engine of one test, with busybox in it, and base images made of that."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

from obuild.engine.native import NativeEngine
from obuild.engine.native.names import default_platform
from obuild.values import replace
from tests.setup import images

__all__ = ["make_native", "native_base_maker"]

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def make_native(folder: Path, prefix: str) -> NativeEngine:
    """An engine whose store is ``folder``, as root or in a user namespace, as the test runs."""
    engine = NativeEngine.of_this_user(str(folder), prefix, search=os.environ["PATH"])
    system, _, architecture = default_platform().partition("/")
    document = {
        "os": system,
        "architecture": architecture,
        "config": {"Env": [_PATH], "Cmd": ["sh"]},
    }
    with tempfile.TemporaryFile() as archive:
        # An ordinary user cannot make it, and is given it (tests/native/test_rootless.py).
        given = os.environ.get("OBUILD_TEST_BUSYBOX")
        archive.write(Path(given).read_bytes() if given else images.busybox_root().getvalue())
        archive.flush()
        archive.seek(0)
        engine.import_tree("busybox", archive, document)
    return engine


def native_base_maker(engine: NativeEngine) -> Callable[..., str]:
    """Makes images of busybox with lines of a Dockerfile and fields set in its configuration."""

    def make(*changes: str, **fields: object) -> str:
        name = f"obuild-test/{token_hex(6)}"
        record = engine.named("busybox")
        config: dict[str, Any] = {**record.config}
        for change in changes:
            _apply(config, change)
        engine.add_image(
            name, replace(record, document={**record.document, "config": {**config, **fields}})
        )
        return name

    return make


def _apply(config: dict[str, Any], change: str) -> None:
    import json

    word, _, rest = change.partition(" ")
    lists: Mapping[str, str] = {"ENTRYPOINT": "Entrypoint", "CMD": "Cmd"}
    match word:
        case "ENV":
            config["Env"] = [*config.get("Env", ()), rest]
        case "ENTRYPOINT" | "CMD":
            config[lists[word]] = json.loads(rest)
        case "WORKDIR":
            config["WorkingDir"] = rest
        case "USER":
            config["User"] = rest
        case "LABEL":
            key, _, value = rest.partition("=")
            config["Labels"] = {key: value}
        case "VOLUME":
            config["Volumes"] = {rest: {}}
        case "EXPOSE":
            config["ExposedPorts"] = {rest: {}}
        case "HEALTHCHECK":
            config["Healthcheck"] = {"Test": ["CMD-SHELL", rest.partition("CMD ")[2]]}
        case "ONBUILD":
            config["OnBuild"] = [rest]
        case _:
            raise ValueError(change)
