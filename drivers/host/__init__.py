"""The machine's disks: who uses one, and its way to vfio-pci and back."""
