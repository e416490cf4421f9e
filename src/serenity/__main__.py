"""`python -m serenity` is the `serenity` command."""

import sys

from serenity.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
