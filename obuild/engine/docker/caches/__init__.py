"""Caches of runs: volumes, copied or shared, replaced whole."""

__all__: list[str] = []
