"""SCSI as tables and bytes: commands' shape, status, sense data."""
