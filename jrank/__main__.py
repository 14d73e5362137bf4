"""``python -m jrank``: the command line."""

import sys

from jrank.cli import main

if __name__ == "__main__":
    sys.exit(main())
