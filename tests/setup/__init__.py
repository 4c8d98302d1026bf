"""Sets a machine up for ``make hello``, ``make test`` and ``make bench``.

Everything here is for Debian and its relatives. What can be had without changing the
machine is had so: packages of which one file is needed are downloaded and unpacked in a
cache folder, whole engines live in Debian roots of their own. Only three things are ever
installed, each only where it is missing and the user is root: ``python3-venv``,
``docker.io``, ``mmdebstrap``.

The parts: ``shell`` runs programs, ``debian`` knows apt, ``client`` asks an engine,
``daemons`` starts and stops engines, ``images`` makes base images, ``registry`` runs one.
"""

__all__: list[str] = []
