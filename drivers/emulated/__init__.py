"""A controller model of our own, and the transport to it."""
