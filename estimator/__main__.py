"""The estimator's process."""

from gevent import monkey

monkey.patch_all()

import gc
import sys

from serenity.estimator.command import main

if __name__ == "__main__":
    # What is imported stays.  Looking through it is most of a full garbage collection, for which a launch has to wait.
    gc.freeze()
    sys.exit(main())
