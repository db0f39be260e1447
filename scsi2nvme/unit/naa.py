"""NAA designators: the name by which many initiators know a logical unit. Spec: SPC-4 7.8.6.

Linux's udev keeps the first 64 bits apart as ID_WWN, and dm-multipath takes nothing else of a
disk of the vendor NVMe: so these differ already, and every logical unit has such a name.
"""

from __future__ import annotations

from hashlib import sha256

from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.namespace import NamespaceFacts

IDENTIFIER_BITS = 36

NAA_IEEE_REGISTERED_EXTENDED = Structure(
    "NAA IEEE Registered Extended designator",
    16,
    (
        Field("naa", 0, 4, 4, "6h"),
        Field("ieee_company_id", 0, 4, 24),
        Field("vendor_identifier", 3, 0, IDENTIFIER_BITS, "the EUI-64's low bits"),
        Field("extension", 8, 0, 64, "its other bits, then zeroes"),
    ),
    spec="SPC-4 7.8.6",
)

NAA_LOCALLY_ASSIGNED = Structure(
    "NAA Locally Assigned designator",
    8,
    (Field("naa", 0, 4, 4, "3h"), Field("value", 0, 0, 60)),
    spec="SPC-4 7.8.6",
)


def company_of(facts: NamespaceFacts) -> int:
    """Return the OUI under which an EUI-64 is told: the controller's, or its own."""
    return facts.controller.ieee or int.from_bytes(facts.eui64[:3], "big")


def registered(facts: NamespaceFacts) -> bytes:
    """Return the NAA 6 designator of a namespace with an EUI-64, b"" for others.

    Its first half is the OUI and what a vendor counts in; so two EUI-64s have it in common
    only if they differ in nothing but their first 28 bits.
    """
    company = company_of(facts)
    if not facts.eui64 or not company:
        return b""
    rest, low = divmod(int.from_bytes(facts.eui64, "big"), 1 << IDENTIFIER_BITS)
    return NAA_IEEE_REGISTERED_EXTENDED.build(
        naa=6,
        ieee_company_id=company,
        vendor_identifier=low,
        extension=rest << IDENTIFIER_BITS,
    )


def locally_assigned(name: bytes) -> bytes:
    """Return an NAA 3 designator for what has another unique `name`: 60 bits of its SHA-256."""
    digest = int.from_bytes(sha256(name).digest(), "big")
    return NAA_LOCALLY_ASSIGNED.build(naa=3, value=digest >> (256 - 60))
