"""The running daemon: what it consists of, composed from drivers, core and front ends."""
