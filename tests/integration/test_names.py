"""Two disks that tell the same of themselves are two disks to initiators and in saved state."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scsi2nvme.drivers.emulated.image import namespace_nguid
from tests.daemon import IQN, Daemon
from tests.iscsi_client import Initiator

IQNS = (f"{IQN}0", f"{IQN}1")
REGISTER, READ_KEYS = 0, 0
KEY = b"\x11" * 8


def config(*specs: str) -> str:
    return "".join(
        f'[[controllers]]\nspec = "{spec}"\niqn = "{iqn}"\n'
        for iqn, spec in zip(IQNS, specs, strict=False)
    )


def daemon(tmp_path: Path, *specs: str) -> Daemon:
    return Daemon(tmp_path, config=config(*specs))


def emulated(path: Path, *options: str) -> str:
    return ",".join([f"emulated:{path}", "size=16M", *options])


def opened(daemon: Daemon, iqn: str) -> Initiator:
    one = Initiator(("127.0.0.1", daemon.port))
    one.login(iqn)
    one.command(0, bytes(6))
    return one


def vpd(one: Initiator, page: int) -> bytes:
    result = one.command(0, bytes([0x12, 1, page, 0, 0xFF, 0]), data_in=255)
    assert result.status == 0
    return result.data


def units_designators(page: bytes) -> dict[int, bytes]:
    """Return the designators of the logical unit in page 83h, by type."""
    found, rest = {}, page[4:]
    while rest:
        if rest[1] >> 4 & 3 == 0:
            found[rest[1] & 0xF] = rest[4 : 4 + rest[3]]
        rest = rest[4 + rest[3] :]
    return found


def register(one: Initiator) -> None:
    data = bytes(8) + KEY + bytes([0, 0, 0, 0, 1, 0, 0, 0])  # APTPL
    cdb = bytes([0x5F, REGISTER, 0, 0, 0, 0, 0, 0, 24, 0])
    assert one.command(0, cdb, data_out=data).status == 0


def registered(one: Initiator) -> bool:
    cdb = bytes([0x5E, READ_KEYS, 0, 0, 0, 0, 0, 0, 255, 0])
    return KEY in one.command(0, cdb, data_in=255).data


def test_disks_with_equal_identifiers_are_named_by_their_serial_numbers(tmp_path: Path) -> None:
    specs = [
        emulated(tmp_path / name, f"serial={name}", "identifiers=SAME") for name in ("A1", "B2")
    ]
    for round_ in range(2):  # and so again after a restart
        with daemon(tmp_path, *specs) as served:
            assert served.logs("have the same identifiers: both are named by model")
            first, second = (opened(served, iqn) for iqn in IQNS)
            with first, second:
                pages = [units_designators(vpd(one, 0x83)) for one in (first, second)]
                # T10 vendor ID, and an NAA one made of it; no EUI-64.
                assert all(set(page) == {1, 3} for page in pages)
                assert all(page[3][0] >> 4 == 3 for page in pages)
                assert all(pages[0][kind] != pages[1][kind] for kind in (1, 3))
                assert vpd(first, 0x80) != vpd(second, 0x80)
                if not round_:
                    register(first)
                assert (registered(first), registered(second)) == (True, False)


def test_a_copy_with_its_sidecar_is_not_served_beside_its_original(tmp_path: Path) -> None:
    original, copy = tmp_path / "disk.img", tmp_path / "copy.img"
    with daemon(tmp_path, emulated(original)) as served, opened(served, IQNS[0]) as one:
        name = vpd(one, 0x83)
        register(one)
    for suffix in ("", ".json"):
        shutil.copy(f"{original}{suffix}", f"{copy}{suffix}")
    with daemon(tmp_path, emulated(original), emulated(copy)) as served:
        with opened(served, IQNS[0]) as one:
            assert vpd(one, 0x83) == name
            assert registered(one)
        assert served.logs(f"namespace 1 of controller '{emulated(copy)}' is not served")
        assert "give it a serial number of its own" in served.log.read_text()
    with (
        daemon(tmp_path, emulated(original), emulated(copy, "serial=COPY")) as served,
        opened(served, IQNS[0]) as one,
        opened(served, IQNS[1]) as other,
    ):
        assert vpd(one, 0x83) == name
        assert not units_designators(vpd(other, 0x83)).items() & units_designators(name).items()
        assert (registered(one), registered(other)) == (True, False)


@pytest.mark.parametrize("serial", [(), ("serial=SAME",)])
def test_qemus_disks_have_a_name_each(tmp_path: Path, serial: tuple[str, ...]) -> None:
    """Each image has a serial number of its own, unless it is given another's."""
    specs = [
        ",".join([f"qemu:{tmp_path / name}", "size=16M", *serial]) for name in ("a.img", "b.img")
    ]
    with daemon(tmp_path, *specs) as served, opened(served, IQNS[0]) as one:
        if serial:
            assert served.logs("is not served: it cannot be told from")
        else:
            with opened(served, IQNS[1]) as other:
                assert vpd(one, 0x83) != vpd(other, 0x83)


def test_saved_state_of_earlier_versions_is_one_disks(tmp_path: Path) -> None:
    specs = [
        emulated(tmp_path / name, f"serial={name}", "identifiers=SAME") for name in ("A1", "B2")
    ]
    units = tmp_path / "units"
    with daemon(tmp_path, specs[0]) as served, opened(served, IQNS[0]) as one:
        register(one)
    (saved,) = units.glob("reservations-*")
    former = units / f"reservations-{namespace_nguid('SAME', 1).hex()}.json"
    saved.rename(former)
    with daemon(tmp_path, *specs) as served:  # two disks go by that key: neither gets it
        for iqn in IQNS:
            with opened(served, iqn) as one:
                assert not registered(one)
    assert former.exists()
    with daemon(tmp_path, specs[0]) as served, opened(served, IQNS[0]) as one:
        assert registered(one)
    assert not former.exists()
    with daemon(tmp_path, specs[1]) as served, opened(served, IQNS[0]) as one:
        assert not registered(one)
