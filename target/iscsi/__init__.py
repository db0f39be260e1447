"""The iSCSI portal: login and negotiation, sessions, and what the data plane leaves to Python."""
