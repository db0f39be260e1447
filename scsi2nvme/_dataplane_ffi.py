"""Describe the native data plane to cffi; run by the build, never imported."""

from pathlib import Path

from cffi import FFI

_header = (Path(__file__).parent / "csrc" / "dataplane.h").read_text()
_declarations = _header.split("/* cdef begin */")[1].split("/* cdef end */")[0]

ffibuilder = FFI()
ffibuilder.cdef(_declarations)
ffibuilder.set_source("scsi2nvme._dataplane", '#include "dataplane.h"')
