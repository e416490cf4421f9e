from __future__ import annotations

import sys

from serenity.executor.main import main

sys.exit(main(sys.argv[1:]))
