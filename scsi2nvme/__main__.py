"""`python -m scsi2nvme` is the `scsi2nvme` program."""

import sys

from scsi2nvme.cli.main import main

sys.exit(main())
