"""The machine that QEMU emulates, as its command line.

A virtual processor that halts at once, memory in a file that others map too,
the NVMe controller, and the device that turns its interrupts into eventfds.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path

from scsi2nvme.records import dataclass

BINARY = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"

NVME_DEVICE, DOORBELL_DEVICE = 2, 3  # device numbers on bus 0

_HALT = bytes.fromhex("fa f4 eb fd")  # cli; hlt; jmp to the hlt
_RESET_VECTOR = 0xFFF0
ROM_BYTES = 65536
ROM = _HALT.rjust(_RESET_VECTOR + len(_HALT), b"\0")


@dataclass(frozen=True)
class QemuOptions:
    """What QEMU is to emulate.

    `path` None: namespaces that forget what is written. A file is made, or
    grown, to hold `namespaces` times `size_bytes`. Without `write_cache` every
    write is durable when it completes; with it only Flush makes it so, as
    QEMU's controller ignores FUA. `mdts` is the field of that name. Above
    `vectors` completion queues have no interrupt of their own. Blocks have
    `metadata_bytes` each (0, 8, 16, 64), behind their data if `extended`, with
    protection information of a type, which is first in them or last.
    `namespace` are more properties of each namespace, by QEMU's names. In a `subsystem`
    namespaces can be attached and detached.
    """

    path: Path | None = None
    size_bytes: int = 1 << 30
    block_bytes: int = 4096
    namespaces: int = 1
    serial: str = "S2N0"
    memory_bytes: int = 256 << 20
    mdts: int = 7
    write_cache: bool = False
    vectors: int = 17
    metadata_bytes: int = 0
    extended: bool = False
    protection_type: int = 0
    protection_first: bool = False
    namespace: Mapping[str, object] = field(default_factory=dict)
    subsystem: bool = False

    def devices(self) -> Iterator[str]:
        """Yield the command line arguments for disks and controller."""
        if self.path is not None:
            yield from _option(
                "-blockdev",
                driver="file",
                **{
                    "node-name": "file",
                    "filename": str(self.path),
                    "cache": {"direct": False, "no-flush": False},
                    "discard": "unmap",
                },
            )
        if self.subsystem:
            yield from _option("-device", driver="nvme-subsys", id="subsystem", nqn=self.serial)
        yield from _option(
            "-device",
            driver="nvme",
            id="nvme",
            **({"subsys": "subsystem"} if self.subsystem else {}),
            serial=self.serial,
            addr=f"{NVME_DEVICE:x}.0",
            mdts=self.mdts,
        )
        for nsid in range(1, self.namespaces + 1):
            yield from self._namespace(nsid)

    def _namespace(self, nsid: int) -> Iterator[str]:
        """Yield the arguments for one namespace and what it stores."""
        disk = f"disk{nsid}"
        if self.path is None:
            yield from _option(
                "-blockdev",
                driver="null-co",
                size=self.size_bytes,
                **{"node-name": disk, "read-zeroes": True},
            )
        else:
            yield from _option(
                "-blockdev",
                driver="raw",
                file="file",
                discard="unmap",
                offset=(nsid - 1) * self.size_bytes,
                size=self.size_bytes,
                **{"node-name": disk},
            )
        yield from _option(
            "-device",
            driver="nvme-ns",
            id=f"namespace{nsid}",
            bus="nvme",
            drive=disk,
            nsid=nsid,
            uuid=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.serial}/{nsid}")),
            logical_block_size=self.block_bytes,
            physical_block_size=self.block_bytes,
            ms=self.metadata_bytes,
            mset=int(self.extended),
            pi=self.protection_type,
            pil=int(self.protection_first),
            # Newer ones make each a part of some subsystem, whose other controllers may share it.
            shared=self.subsystem,
            **{"write-cache": "on" if self.write_cache else "off", "share-rw": True},
            **self.namespace,
        )


def _option(option: str, **properties: object) -> Iterator[str]:
    yield option
    yield json.dumps(properties)


def _inherited(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def command_line(
    options: QemuOptions, rom: int, memory: int, log: int, sockets: Mapping[str, int]
) -> list[str]:
    """Return QEMU's arguments. All other parameters are file descriptors that it inherits.

    `sockets` are "qtest", "qmp" and "doorbell", connected.
    """
    return [
        # Nobody else ends QEMU should this process be killed.
        *("setpriv", "--pdeathsig", "KILL", BINARY),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "q35,accel=tcg,memory-backend=ram,pit=off,hpet=off"),
        *("-bios", _inherited(rom), "-m", f"{options.memory_bytes >> 20}M"),
        *_option(
            "-object",
            id="ram",
            size=options.memory_bytes,
            share=True,
            **{"qom-type": "memory-backend-file", "mem-path": _inherited(memory)},
        ),
        *("-chardev", f"socket,id=qtest,fd={sockets['qtest']}"),
        *("-qtest", "chardev:qtest", "-qtest-log", "none"),
        *("-chardev", f"socket,id=qmp,fd={sockets['qmp']}", "-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"socket,id=doorbell,fd={sockets['doorbell']}"),
        *_option(
            "-device",
            driver="ivshmem-doorbell",
            chardev="doorbell",
            vectors=max(options.vectors, 1),
            addr=f"{DOORBELL_DEVICE:x}.0",
        ),
        *options.devices(),
        *("-d", "guest_errors", "--trace", "pci_nvme_ub*", "--trace", "pci_nvme_err*"),
        *("-D", _inherited(log)),
    ]
