"""``python -m obuild``."""

import sys

from obuild.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
