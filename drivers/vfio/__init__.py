"""A real disk, through the kernel's VFIO."""
