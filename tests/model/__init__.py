"""The logical unit held against a simple model of a disk: `make model`, docs/reliability.md."""
