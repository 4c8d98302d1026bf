"""Tests of manifests and of the tar streams of copies from the build context."""

__all__: list[str] = []
