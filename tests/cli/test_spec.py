"""Controller SPECs."""

from __future__ import annotations

import pytest

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.spec import describe, parse
from scsi2nvme.drivers.scheme import parse_size
from scsi2nvme.drivers.transports import SCHEMES, every_option
from scsi2nvme.nvme.namespace import SecureErase


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("64K", 65536), ("1G", 1 << 30), ("2TiB", 2 << 40), ("3mb", 3 << 20)],
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "1.5G", "0", "1X", "1GG", "9999999P", "1 G", "²"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_size(text)


def test_every_option_is_read() -> None:
    spec = parse("emulated:/a b/disk.img,size=64G,block=4096,namespaces=4,serial=S 1,readonly=on")
    assert (spec.scheme.name, spec.path) == ("emulated", "/a b/disk.img")
    assert spec.options == {
        "size": 64 << 30,
        "block": 4096,
        "namespaces": 4,
        "serial": "S 1",
        "readonly": True,
    }
    assert spec.readonly


def test_how_much_memory_is_lent() -> None:
    assert parse("pci:01:00.0").host_memory_bytes == 64 << 20
    assert parse("pci:01:00.0,hmb=off").host_memory_bytes == 0
    assert parse("pci:01:00.0,noiommu=on").host_memory_bytes == 0
    assert parse("pci:01:00.0,noiommu=on,hmb=8M").host_memory_bytes == 8 << 20
    assert parse("emulated:memory,hmb=8M,hmpre=16M").host_memory_bytes == 8 << 20
    assert parse("pci:01:00.0,hmb=8M").given() == {}
    for wrong in ("on", "", "-1"):
        with pytest.raises(UsageError, match="hmb"):
            parse(f"pci:01:00.0,hmb={wrong}")


@pytest.mark.parametrize("transport", ["emulated:x", "qemu:x", "pci:0000:01:00.0"])
def test_what_erases_is_off_until_it_is_asked_for(transport: str) -> None:
    plain = parse(transport)
    assert not plain.may_be_sanitized
    assert plain.secure_format is SecureErase.NONE
    asked = parse(f"{transport},sanitize=on,secure_format=crypto")
    assert asked.may_be_sanitized
    assert asked.secure_format is SecureErase.CRYPTOGRAPHIC
    assert not asked.given()


@pytest.mark.parametrize("transport", ["emulated:x", "qemu:x", "pci:0000:01:00.0"])
def test_the_largest_physical_block_is_for_every_transport(transport: str) -> None:
    assert parse(f"{transport},physical=16K").physical_block_bytes == 16384
    assert parse(transport).physical_block_bytes is None
    assert parse(f"{transport},physical=16K").given() == {}
    for wrong in ("0", "256", "5000", "128K"):
        with pytest.raises(UsageError, match="physical"):
            parse(f"{transport},physical={wrong}")


def test_what_is_not_given_is_left_to_the_transport() -> None:
    spec = parse("emulated:memory")
    assert spec.options == {}
    assert not spec.readonly


def test_faults_are_gathered() -> None:
    spec = parse("emulated:x,fault=read:status=2/81:lba=5-9:count=3,fault=any:delay=20:nsid=2")
    assert spec.given() == {
        "faults": (
            {"opcode": 2, "action": 0, "status": 0x281, "lba_first": 5, "lba_last": 9, "count": 3},
            {"opcode": 0xFF, "action": 2, "delay_ms": 20, "nsid": 2},
        )
    }


def test_a_fault_may_be_a_late_one() -> None:
    spec = parse("emulated:x,fault=write:delay=20:status=2/80")
    late = {"opcode": 1, "action": 0, "status": 0x280, "delay_ms": 20}
    assert spec.given() == {"faults": (late,)}


def test_a_fault_may_come_after_others_and_after_the_deed() -> None:
    spec = parse("emulated:x,fault=write:status=2/80:done:after=2")
    late = {"opcode": 1, "action": 0, "status": 0x280, "done": True, "after": 2}
    assert spec.given() == {"faults": (late,)}


def test_drivers_are_given_what_is_for_them() -> None:
    spec = parse(
        "emulated:x,size=1M,block=512,namespaces=2,serial=S,cache=off,thin=off,readonly=on"
    )
    assert spec.given() == {
        "size_bytes": 1 << 20,
        "block_bytes": 512,
        "namespaces": 2,
        "serial": "S",
        "write_cache": False,
        "thin": False,
    }


@pytest.mark.parametrize("text", ["qemu:", "qemu:,size=1G", "qemu:size=1G"])
def test_qemu_needs_no_path(text: str) -> None:
    assert parse(text).path == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("disk.img", ["write emulated:disk.img"]),
        ("tape:x", ["transport 'tape'"]),
        ("emulated:", ["PATH is missing"]),
        ("emulated:,size=1G", ["PATH is missing"]),
        ("emulated:x,size=1Q", ["size", "'1Q'", "512M"]),
        ("emulated:x,block=513", ["block", "'513'", "512 or 4096"]),
        ("emulated:x,namespaces=257", ["namespaces", "'257'", "256"]),
        ("emulated:x,namespaces=0", ["namespaces", "'0'", "from 1"]),
        ("emulated:x,serial=123456789012345678901", ["serial", "20"]),
        ("emulated:x,serial=", ["serial", "''"]),
        ("emulated:x,readonly=yes", ["readonly", "'yes'", "on or off"]),
        ("emulated:x,secure_format=on", ["secure_format", "'on'", "off, data, crypto"]),
        ("emulated:x,sanicap=ndi", ["sanicap", "'ndi'", "block+crypto"]),
        ("emulated:x,sanitize_s=1.5", ["sanitize_s", "'1.5'", "86400"]),
        ("emulated:x,sanitize_fails=-1", ["sanitize_fails", "'-1'", "1000"]),
        ("emulated:x,colour=red", ["'colour=red'", "size"]),
        ("emulated:x,size", ["'size'"]),
        ("emulated:x,size=1G,size=2G", ["size", "twice"]),
        ("emulated:x,size=1000,block=4096", ["size", "1000", "4096"]),
        ("qemu:,fault=read:hang", ["fault", "emulated"]),
        ("qemu:,thin=off", ["thin", "emulated"]),
        ("emulated:x,fault=reed:hang", ["fault", "'reed:hang'", "read"]),
        ("emulated:x,fault=read", ["fault", "'read'", "status=SCT/SC"]),
        ("emulated:x,fault=read:hang:delay=1", ["fault", "one action"]),
        ("emulated:x,fault=read:delay=1:delay=2", ["fault", "one action"]),
        ("emulated:x,fault=read:status=9/00", ["fault", "'status=9/00'"]),
        ("emulated:x,fault=read:hang:lba=1", ["fault", "'lba=1'"]),
    ],
)
def test_an_error_names_field_value_and_limit(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    message = str(caught.value)
    assert "\n" not in message
    for word in [repr(text), *words]:
        assert word in message


def test_the_help_names_every_transport_and_option() -> None:
    text = describe()
    for name in [*SCHEMES, *every_option()]:
        assert name in text
