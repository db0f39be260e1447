"""The program in a whole machine: Debian's kernel under QEMU, with disks of its own."""
