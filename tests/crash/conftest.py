"""A place where builds may crash, on an engine that nobody else uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.site import Site
from tests.setup.daemons import Daemon


@pytest.fixture
def site(own_engine: Callable[[], Daemon], tmp_path: Path, clean_env: dict[str, str]) -> Site:
    """A store and an engine with one finished build; its time is known."""
    made = Site(own_engine(), tmp_path, clean_env)
    made.measure()
    return made
