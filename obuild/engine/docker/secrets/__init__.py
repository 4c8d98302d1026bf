"""Secrets of runs: files in memory, and nothing of them in what remains."""

__all__: list[str] = []
