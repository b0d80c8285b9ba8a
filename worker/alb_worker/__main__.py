"""``python -m alb_worker``: a worker without the ``alb`` command, set by ``ALB_*`` variables alone."""

from __future__ import annotations

import os
import sys

from alb_core import config
from alb_core.errors import ConfigError
from alb_worker.main import EXIT_CONFIG, main

if __name__ == "__main__":
    try:
        settings = config.load(config.WorkerConfig, file=None, environ=os.environ, flags={})
    except ConfigError as error:
        sys.stderr.write(f"alb_worker: {error}\n")
        sys.exit(EXIT_CONFIG)
    sys.exit(main(settings))
