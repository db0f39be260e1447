"""The NVMe controllers that a machine has, as what QEMU is told of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MIB, GIB = 1 << 20, 1 << 30
FIRST_EUI64 = 0x525400_1234567800


@dataclass(frozen=True)
class Namespace:
    """A namespace; its content is lost with the machine. `fast`: reads as zeroes always.

    With `eui64` it has that identifier too, not only a UUID. Those of all controllers count on,
    as a vendor's do.
    """

    size_bytes: int = GIB
    block_bytes: int = 512
    fast: bool = False
    eui64: bool = False


@dataclass(frozen=True)
class Nvme:
    """An NVMe controller behind a root port of its own, at `address` in the machine.

    `joins`: the controller whose subsystem, with its namespaces, is this one's too.
    `beside`: the controller whose root port it shares, as a further function of one device.
    With `virtual` functions it is the primary controller of as many secondary ones.
    """

    name: str
    address: str
    namespaces: tuple[Namespace, ...] = (Namespace(eui64=True), Namespace(block_bytes=4096))
    joins: str = ""
    beside: str = ""
    virtual: int = 0

    @property
    def bus(self) -> int:
        """The bus number in its address."""
        return int(self.address.split(":")[1], 16)

    @property
    def serial(self) -> str:
        """The controller's serial number."""
        return f"S2N-{self.joins or self.name}"

    def disks(self, directory: Path) -> Iterator[dict[str, object]]:
        """Yield the block devices that the namespaces lie on."""
        for nsid, namespace in enumerate(self.namespaces, start=1):
            disk: dict[str, object] = {"node-name": f"{self.name}-{nsid}", "discard": "unmap"}
            if namespace.fast:
                disk |= {"driver": "null-co", "size": namespace.size_bytes, "read-zeroes": True}
            else:
                path = directory / f"{self.name}-{nsid}"
                with path.open("wb") as file:
                    file.truncate(namespace.size_bytes)
                disk |= {"driver": "file", "filename": str(path), "cache": {"no-flush": True}}
            yield disk

    def controller(self) -> dict[str, object]:
        """Return the controller itself."""
        return {
            "driver": "nvme",
            "id": self.name,
            "serial": self.serial,
            "bus": f"port-{self.beside or self.name}",
            "addr": f"0.{self.address[-1]}",
            "multifunction": not self.virtual,  # then it would be in one IOMMU group with them
            "subsys": f"subsystem-{self.joins or self.name}",
            "max_ioqpairs": 16,
            **(self._secondaries() if self.virtual else {}),
        }

    def _secondaries(self) -> dict[str, object]:
        """Return what there is for secondary controllers: two queues and an interrupt each."""
        return {
            "sriov_max_vfs": self.virtual,
            "sriov_vq_flexible": 2 * self.virtual,
            "sriov_vi_flexible": self.virtual,
        }

    def devices(self) -> Iterator[dict[str, object]]:
        """Yield everything; the subsystem keeps the namespaces while the controller is away."""
        yield {"driver": "nvme-subsys", "id": f"subsystem-{self.name}", "nqn": self.name}
        yield self.controller()
        for nsid, namespace in enumerate(self.namespaces, start=1):
            unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{self.serial}/{nsid}")
            yield {
                "driver": "nvme-ns",
                "id": f"{self.name}-{nsid}",
                "drive": f"{self.name}-{nsid}",
                "bus": self.name,
                "nsid": nsid,
                "uuid": str(unique),
                "eui64": FIRST_EUI64 + self.bus + (nsid << 8) if namespace.eui64 else 0,
                "logical_block_size": namespace.block_bytes,
                "physical_block_size": namespace.block_bytes,
            }


CONTROLLERS = (Nvme("a", "0000:01:00.0"), Nvme("b", "0000:02:00.0"))
# Can be plugged into a machine with those two.
SPARE = Nvme("spare", "0000:03:00.0", namespaces=(), joins="b")
PRIMARY = Nvme("spare", "0000:03:00.0", namespaces=(), joins="b", virtual=1)
