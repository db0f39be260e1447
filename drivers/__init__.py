"""NVMe controllers: transports, bring-up, queue pairs. Knows nothing of SCSI."""
