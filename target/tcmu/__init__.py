"""The user backstore of the kernel's target (TCMU), and the configuration of that target (LIO)."""
