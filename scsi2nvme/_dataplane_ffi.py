"""Describe the native data plane to cffi; run by the build, never imported."""

from pathlib import Path

from cffi import FFI

# In each a part for cffi. They stand in the order in which one uses the types of another.
_HEADERS = (
    "scsi2nvme/csrc/crc32c.h",
    "scsi2nvme/csrc/transport.h",
    "drivers/nvme/csrc/nvme.h",
    "drivers/emulated/csrc/emulator.h",
    "drivers/qemu/csrc/qtest.h",
    "drivers/vfio/csrc/vfio.h",
    "scsi2nvme/csrc/dataplane.h",
    "target/iscsi/csrc/iscsi_session.h",
    "target/tcmu/csrc/tcmu_device.h",
)

ffibuilder = FFI()
for _name in _HEADERS:
    _text = (Path(__file__).parent.parent / _name).read_text()
    ffibuilder.cdef(_text.split("/* cdef begin */")[1].split("/* cdef end */")[0])
ffibuilder.set_source(
    "scsi2nvme._dataplane",
    "".join(f'#include "{Path(name).name}"\n' for name in _HEADERS),
)
