"""A logical unit's state: what SAM keeps between commands. It knows no command."""
