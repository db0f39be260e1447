"""Where SCSI tasks come from: the embedded iSCSI portal. Knows nothing of NVMe."""
