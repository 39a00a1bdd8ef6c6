"""``python -m sonolex``: the command line, also for ``torchrun -m sonolex train …``."""

from __future__ import annotations

import sys

from sonolex.cli import main

if __name__ == "__main__":
    sys.exit(main())
