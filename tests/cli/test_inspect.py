"""What the inspection verbs show."""

from __future__ import annotations

import json

import pytest

from scsi2nvme.cli import inspection
from scsi2nvme.cli.verbs.list import namespaces
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.structures import (
    ERROR_LOG_ENTRY,
    IDENTIFY_CONTROLLER,
    IDENTIFY_NAMESPACE,
    LBA_FORMAT,
    POWER_STATE,
    SMART_LOG,
)

CONTROLLER = IDENTIFY_CONTROLLER.build(
    vid=0x1B36,
    sn=b"S1".ljust(20),
    mn=b"A model".ljust(40),
    fr=b"1.0".ljust(8),
    mdts=7,
    npss=1,
    tnvmcap=1 << 70,
    subnqn=b"nqn.2026-11.org.example:x",
    psds=POWER_STATE.build(mp=2500, enlat=16) + POWER_STATE.build(mp=10, nops=1),
)
NAMESPACE = IDENTIFY_NAMESPACE.build(
    nsze=100,
    nuse=50,
    nlbaf=1,
    flbas=1,
    nguid=bytes(range(16)),
    lbafs=LBA_FORMAT.build(lbads=9) + LBA_FORMAT.build(lbads=12, rp=2),
)


def test_id_ctrl_has_nvme_clis_keys() -> None:
    shown = inspection.id_ctrl(CONTROLLER)
    assert (shown["vid"], shown["sn"], shown["mn"], shown["mdts"]) == (0x1B36, "S1", "A model", 7)
    assert shown["tnvmcap"] == 1 << 70
    assert shown["subnqn"] == "nqn.2026-11.org.example:x"
    assert [(row["max_power"], row["flags"]) for row in shown["psds"]] == [(2500, 0), (10, 2)]
    assert shown["psds"][0]["entry_lat"] == 16


def test_id_ns_has_nvme_clis_keys() -> None:
    shown = inspection.id_ns(NAMESPACE)
    assert (shown["nsze"], shown["flbas"]) == (100, 1)
    assert shown["nguid"] == "000102030405060708090a0b0c0d0e0f"
    assert shown["lbafs"] == [{"ms": 0, "ds": 9, "rp": 0}, {"ms": 0, "ds": 12, "rp": 2}]
    assert "npwg" not in shown


def test_id_ns_shows_formats_with_capabilities_of_their_own() -> None:
    raw = bytearray(NAMESPACE)
    IDENTIFY_NAMESPACE.write(raw, nlbaf=0, nulbaf=1)
    assert [row["ds"] for row in inspection.id_ns(bytes(raw))["lbafs"]] == [9, 12]


def test_id_ns_shows_preferred_sizes_where_nsfeat_says_so() -> None:
    raw = bytearray(NAMESPACE)
    IDENTIFY_NAMESPACE.write(raw, nsfeat=0x10, npwg=7)
    assert inspection.id_ns(bytes(raw))["npwg"] == 7


def test_smart_log_leaves_absent_sensors_out() -> None:
    shown = inspection.smart_log(
        SMART_LOG.build(temperature=300, temperature_sensor_2=310, data_units_read=1 << 100)
    )
    assert (shown["temperature"], shown["data_units_read"]) == (300, 1 << 100)
    assert [key for key in shown if key.startswith("temperature_sensor")] == [
        "temperature_sensor_2"
    ]


def test_people_are_told_units() -> None:
    row = inspection.INSPECTIONS["smart-log"]
    told = row.told(row.decode(SMART_LOG.build(temperature=300, percent_used=3)))
    assert (told["temperature"], told["percent_used"]) == ("300 K (27 °C)", "3 %")
    assert row.told(row.decode(SMART_LOG.build()))["temperature"] == 0


def test_people_are_told_errors_only() -> None:
    row = inspection.INSPECTIONS["error-log"]
    none = bytes(64)
    assert row.told(row.decode(none)) == {"errors": "none"}
    one = ERROR_LOG_ENTRY.build(error_count=2)
    assert [each["error_count"] for each in row.told(row.decode(one + none))["errors"]] == [2]


def test_error_log_is_a_list_of_entries() -> None:
    raw = ERROR_LOG_ENTRY.build(error_count=2, status_field=0x81, lba=7) + bytes(64)
    errors = inspection.error_log(raw)["errors"]
    assert [(row["error_count"], row["status_field"], row["lba"]) for row in errors] == [
        (2, 0x81, 7),
        (0, 0, 0),
    ]


def test_list_has_nvme_clis_keys() -> None:
    facts = NamespaceFacts(
        1, IDENTIFY_CONTROLLER.parse(CONTROLLER), IDENTIFY_NAMESPACE.parse(NAMESPACE), 1 << 19
    )
    shown = inspection.devices([(3, "emulated:x", facts)])
    assert shown["Devices"] == [
        {
            "NameSpace": 1,
            "Controller": 3,
            "DevicePath": "emulated:x",
            "Firmware": "1.0",
            "ModelNumber": "A model",
            "SerialNumber": "S1",
            "UsedBytes": 50 * 4096,
            "MaximumLBA": 100,
            "PhysicalSize": 100 * 4096,
            "SectorSize": 4096,
        }
    ]
    assert "emulated:x" in namespaces.table(shown)


def test_controllers_of_one_spec_have_a_state_each() -> None:
    facts = NamespaceFacts(
        1, IDENTIFY_CONTROLLER.parse(CONTROLLER), IDENTIFY_NAMESPACE.parse(NAMESPACE), 1 << 19
    )
    shown = inspection.devices([(0, "emulated:memory", facts), (2, "emulated:memory", facts)])
    shown["Controllers"] = [
        {"Number": number, "DevicePath": "emulated:memory", "State": state}
        for number, state in ((0, "dead"), (2, "live"))
    ]
    _, *rows = namespaces.table(shown).splitlines()
    assert [row.split()[-1] for row in rows] == ["dead", "live"]


def test_what_controllers_have_borrowed() -> None:
    rows = [{"DevicePath": "pci:01:00.0", "HostMemory": size} for size in (0, 64 << 20)]
    told = namespaces.borrowed({"Controllers": rows})
    assert told == "controller pci:01:00.0 has borrowed 64.00 MiB of memory"


@pytest.mark.parametrize("raw", [CONTROLLER], ids=["id-ctrl"])
def test_text_names_every_key_that_json_has(raw: bytes) -> None:
    shown = inspection.id_ctrl(raw)
    text = inspection.text(shown)
    assert json.loads(json.dumps(shown)) == shown
    for key in shown:
        assert f"{key} " in text


@pytest.mark.parametrize(
    ("verb", "cdw10", "nsid", "length"),
    [
        ("id-ctrl", 1, 0, 4096),
        ("id-ns", 0, 3, 4096),
        ("smart-log", 2 | 127 << 16, 0xFFFFFFFF, 512),
        ("error-log", 1 | 63 << 16, 0xFFFFFFFF, 256),
    ],
)
def test_each_verb_sends_its_command(verb: str, cdw10: int, nsid: int, length: int) -> None:
    row = inspection.INSPECTIONS[verb]
    command = row.command(3 if row.per_namespace else 0, 4)
    assert (command.cdw10, command.nsid, command.data_in) == (cdw10, nsid, length)
    assert command.admin


def test_rings_tell_which_way_data_take() -> None:
    row = {"Config": "nvme/0/1", "ZeroCopy": True, "InPlace": 7, "Copied": 2, "Pages": 5}
    reached = {"Backstore": "user_0/a", **row, "Withdrawals": 1, "Reactor": 3, "Moves": 8}
    lines = namespaces.rings(
        {"Rings": [reached, {**reached, "Backstore": "user_0/b", "ZeroCopy": False}]}
    ).splitlines()
    assert lines[1].split() == ["user_0/a", "nvme/0/1", "7", "2", "5", "1", "3", "8"]
    assert lines[2].split() == ["user_0/b", "nvme/0/1", "-", "2", "5", "1", "3", "8"]
