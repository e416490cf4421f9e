"""The estimator's process."""

from gevent import monkey

monkey.patch_all()

import sys

from serenity.estimator.command import main

if __name__ == "__main__":
    sys.exit(main())
