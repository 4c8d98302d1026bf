"""Images put together of layers: thin loads, and long chains made short."""

__all__: list[str] = []
