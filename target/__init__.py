"""Where SCSI tasks come from: the iSCSI portal and the kernel's target. Knows nothing of NVMe."""
