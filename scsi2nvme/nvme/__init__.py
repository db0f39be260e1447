"""NVMe as tables and bytes: commands, data structures, status codes."""
