"""Tests of ``obuild.store``: real directories, databases, threads and processes."""

__all__: list[str] = []
