"""Front ends: build scripts to the IR, one package a language."""

__all__: list[str] = []
