"""The command line: one module a command, and the only place where parts are joined.

Only here the environment is read, signals are caught, and errors are drawn. Modules of
commands are loaded when they are called, so that ``obuild run`` does not pay for ``df``.
"""

__all__: list[str] = []
