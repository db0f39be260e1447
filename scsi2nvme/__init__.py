"""scsi2nvme: a SCSI target emulator that fronts an NVMe SSD."""

__version__ = "0.1.0"
