"""One module a command, each with ``register(parser)`` and ``run(arguments) -> int``."""

__all__: list[str] = []
