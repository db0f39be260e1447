"""QEMU's NVMe controller, in a process of its own."""
