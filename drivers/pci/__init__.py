"""PCI functions: their configuration space, and what the kernel tells of them."""
