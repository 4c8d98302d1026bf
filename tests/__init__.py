"""The tests; they mirror ``obuild/``. See ``README.md`` in this folder."""

__all__: list[str] = []
