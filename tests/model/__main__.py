"""`python -m tests.model`: steps of the model, by the hour."""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.integration.rig import RIGS
from tests.model.run import initiators, march
from tests.model.ways import WAYS

# Where nothing waits for a disk of the machine.
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="for each pair")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--controller", choices=list(RIGS), action="append")
    parser.add_argument("--way", choices=list(WAYS), action="append")
    words = parser.parse_args()
    logging.disable(logging.WARNING)  # of each reset
    for kind in words.controller or RIGS:
        for way in words.way or WAYS:
            print(f"{kind}, {way}:", flush=True)
            with (
                tempfile.TemporaryDirectory(dir=_MEMORY) as path,
                initiators(kind, way, Path(path)) as subject,
            ):
                march(subject, words.steps, words.seed, partial(print, flush=True))
    return 0


sys.exit(main())
