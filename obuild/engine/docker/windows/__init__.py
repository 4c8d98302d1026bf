"""Guests that run Windows."""

__all__: list[str] = []
