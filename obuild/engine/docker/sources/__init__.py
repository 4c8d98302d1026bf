"""Copies from another build: its files listed and read, by its own tools or without."""

__all__: list[str] = []
