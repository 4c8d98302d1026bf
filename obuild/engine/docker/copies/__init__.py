"""Performing copies: tar streams become files of snapshots."""

__all__: list[str] = []
