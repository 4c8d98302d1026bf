"""Locks: one file per name, locked with ``flock``, so the kernel frees what a dead one held.

Threads and processes are alike: ``flock`` belongs to an open file, and every lock opens its
own. The file is removed by its holder before it lets go. So whoever gets a lock must look
whether the file is still the one of that name; if not, it starts again with the new one.

Whether a lock is held is found out by asking for a share of it without waiting; that share
lives for microseconds, but somebody who asks for the whole lock right then is refused. So a
single refusal is not called waiting.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from obuild.errors import Cancelled, StoreError
from obuild.store.failures import store_errors

__all__ = ["VISIT", "Locks", "check_name"]

VISIT = "visit-"
"""How the names of visits' locks begin; what follows are hex digits."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_SUFFIX = ".lock"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05
_TRIES_BEFORE_WAITING = 3


def check_name(name: str) -> str:
    """``name``, if it can be part of a file name (a key can). Raises ``StoreError``."""
    if not _NAME.fullmatch(name):
        raise StoreError(f"{name!r} is not a key", hint="A key is 64 hexadecimal digits.")
    return name


class Locks:
    """The locks in an open directory. ``path`` is the store's directory, for messages."""

    def __init__(self, folder: int, path: str):
        self._folder = folder
        self._path = path

    @contextmanager
    def hold(
        self,
        name: str,
        cancel: Event,
        waiting: Callable[[], None],
        poll: Callable[[], None] | None = None,
    ) -> Iterator[None]:
        """Hold the lock ``name``.

        ``waiting`` is called once if somebody else has it, then ``poll`` at least every 50
        ms until it is free. Raises ``Cancelled`` when ``cancel`` is set before the lock is
        had, ``StoreError``.
        """
        held = self._acquire(check_name(name) + _SUFFIX, cancel, waiting, poll)
        try:
            yield
        finally:
            self._release(name + _SUFFIX, held)

    def held(self, name: str) -> bool:
        """Whether any thread of any process holds the lock ``name``."""
        with store_errors(self._path):
            return self._held(check_name(name) + _SUFFIX)

    def all_held(self) -> list[str]:
        """The names of all locks that are held now, sorted."""
        with store_errors(self._path):
            files = sorted(f for f in os.listdir(self._folder) if f.endswith(_SUFFIX))
            return [file.removesuffix(_SUFFIX) for file in files if self._held(file)]

    def since(self, name: str) -> float | None:
        """When the lock that is held under that name was taken, in seconds since the epoch;
        None if it is free by now."""
        with store_errors(self._path):
            try:
                found = os.stat(name + _SUFFIX, dir_fd=self._folder, follow_symlinks=False)
            except FileNotFoundError:
                return None
            return found.st_mtime

    def abandoned(self) -> list[str]:
        """The names of locks whose holders died: a lock that is let go of leaves no file."""
        with store_errors(self._path):
            files = sorted(f for f in os.listdir(self._folder) if f.endswith(_SUFFIX))
            return [file.removesuffix(_SUFFIX) for file in files if not self._held(file)]

    def clear_abandoned(self) -> None:
        for name in self.abandoned():
            held = self._try(name + _SUFFIX)
            if held is not None:
                self._release(name + _SUFFIX, held)

    def _acquire(
        self, file: str, cancel: Event, waiting: Callable[[], None], poll: Callable[[], None] | None
    ) -> int:
        tries, pause = 0, _FIRST_PAUSE
        while True:
            if cancel.is_set():
                raise Cancelled("the build was cancelled")
            held = self._try(file)
            if held is not None:
                return held
            tries += 1
            if tries == _TRIES_BEFORE_WAITING:
                waiting()
            if tries >= _TRIES_BEFORE_WAITING and poll is not None:
                poll()
            cancel.wait(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _try(self, file: str) -> int | None:
        """A descriptor that holds the lock, None if another has it."""
        with store_errors(self._path):
            while True:
                descriptor = os.open(
                    file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=self._folder
                )
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    current = self._is_current(file, descriptor)
                except BlockingIOError:
                    os.close(descriptor)
                    return None
                except BaseException:
                    os.close(descriptor)
                    raise
                if current:
                    return descriptor
                os.close(descriptor)

    def _is_current(self, file: str, descriptor: int) -> bool:
        """Whether the name still leads to the open file."""
        try:
            named = os.stat(file, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(descriptor))

    def _release(self, file: str, descriptor: int) -> None:
        """Remove the file while nobody else can hold it, then let go."""
        try:
            with store_errors(self._path):
                if self._is_current(file, descriptor):
                    os.unlink(file, dir_fd=self._folder)
        finally:
            os.close(descriptor)

    def _held(self, file: str) -> bool:
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._folder)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
