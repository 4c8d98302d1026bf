"""An idle container that lends its empty network to runs that have none.

On Docker 20.10 a container with the network ``none`` pays about 95 ms for a network namespace
of its own; one that joins another's pays nothing (on 28.5 there is no difference). So from a
build's second run on such a container stands beside it. It waits for a line on its standard
input, which this process holds: when the process dies, however it does, the container ends.

A build's use of the engine is a *visit*; it has a name, of which the store holds a lock. The
container's name has it too, so ``leftovers`` can tell whose the container is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock, Thread
from typing import Any

from obuild.engine.docker import command
from obuild.engine.docker.attach import open_stream
from obuild.engine.docker.daemon import Daemon
from obuild.errors import EngineError

__all__ = ["Idle"]

_PAYS_BELOW = (1, 42)
"""The first API version whose daemon makes network namespaces cheaply."""


class Idle:
    """At most one idle container for an engine; none where it would not pay."""

    def __init__(self, daemon: Daemon, visit: str | None):
        self._daemon = daemon
        self._visit = visit
        self._lock = Lock()
        self._runs = 0
        self._thread: Thread | None = None
        self._ready: str | None = None
        self._stdin: Any = None

    def network(self, image: str, shell: Sequence[str], host_config: Mapping[str, Any]) -> str:
        """The network mode of a run without a network: ``none``, or another's namespace.

        ``image`` and ``shell`` are those of the run: what it can run, can idle as well.
        """
        if self._visit is None:
            return "none"
        with self._lock:
            self._runs += 1
            if self._runs == 2 and self._daemon.connection.version() < _PAYS_BELOW:
                arguments = (image, tuple(shell), dict(host_config))
                self._thread = Thread(target=self._begin, args=arguments, name="obuild-idle")
                self._thread.start()
            ready = self._ready
        return f"container:{ready}" if ready is not None and self._runs_still(ready) else "none"

    def close(self) -> None:
        """Remove the container, if there is one."""
        if self._thread is not None:
            self._thread.join()
        if self._stdin is not None:
            self._stdin.close()
            self._daemon.remove_container(self._name)

    @property
    def _name(self) -> str:
        return self._daemon.names.idle(self._visit or "")

    def _runs_still(self, container: str) -> bool:
        found = self._daemon.inspect_container(container)
        return found is not None and bool(found["State"]["Running"])

    def _begin(self, image: str, shell: tuple[str, ...], host_config: dict[str, Any]) -> None:
        config = {
            "Image": image,
            "Entrypoint": [*shell, "read line"],
            "Cmd": [],
            "User": "0:0",
            "WorkingDir": "/",
            "Hostname": "builder",
            "OpenStdin": True,
            "StdinOnce": True,
            "AttachStdin": True,
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": host_config,
        }
        try:
            made = self._daemon.create(self._name, config)
            with self._daemon.connection.client() as api:
                self._stdin = open_stream(api, made, {"stdin": 1, "stream": 1})
                api.start(made)
        except EngineError as error:
            # Nothing is lost but time: every run can have a namespace of its own.
            self._daemon.removals.now(lambda: self._daemon.remove_container(self._name))
            why = error.message
            self._daemon.say(lambda: command.note(f"no idle container: {why}"))
            return
        with self._lock:
            self._ready = made
