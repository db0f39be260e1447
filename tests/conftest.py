"""What every test has."""

# An editable install rebuilds the C when it changed: once, before workers start.
import scsi2nvme  # noqa: F401
