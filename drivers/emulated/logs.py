"""The emulated controller's log pages. Spec: NVMe Base 2.0c 5.16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from scsi2nvme.drivers.emulated.identify import FIRMWARE
from scsi2nvme.drivers.emulated.model import (
    ERROR_LOG_ENTRIES,
    MAXIMUM_TRANSFER_BYTES,
    TEMPERATURE_K,
    CommandFailed,
    Model,
    invalid_field,
)
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import (
    ERROR_LOG_ENTRY,
    SELF_TEST_LOG_BYTES,
    SMART_LOG,
)

CHANGED_NAMESPACES = 0x04
_LIST_ENTRIES = 1024
_DATA_UNIT_BYTES = 512 * 1000


class SelfTestStatus(Protocol):
    """What the self-test log needs to know of the test under way."""

    @property
    def code(self) -> int:
        """STC of the test under way, 0: none."""

    @property
    def percent(self) -> int:
        """How much of it is done."""


def _error_log(model: Model, test: SelfTestStatus) -> bytes:
    entries = b"".join(bytes.fromhex(entry) for entry in model.state.errors)
    return entries.ljust(ERROR_LOG_ENTRIES * ERROR_LOG_ENTRY.size, b"\0")


def _smart(model: Model, test: SelfTestStatus) -> bytes:
    totals = model.smart()
    return SMART_LOG.build(
        critical_warning=model.critical_warning,
        temperature=TEMPERATURE_K,
        avail_spare=100,
        spare_thresh=10,
        data_units_read=-(-totals.bytes_read // _DATA_UNIT_BYTES),
        data_units_written=-(-totals.bytes_written // _DATA_UNIT_BYTES),
        host_read_commands=totals.host_reads,
        host_write_commands=totals.host_writes,
        power_cycles=totals.power_cycles,
        power_on_hours=int(totals.power_on_seconds) // 3600,
        unsafe_shutdowns=totals.unsafe_shutdowns,
        media_errors=totals.media_errors,
        num_err_log_entries=totals.error_count,
        temperature_sensor_1=TEMPERATURE_K,
    )


def _firmware(model: Model, test: SelfTestStatus) -> bytes:
    return (bytes([1]).ljust(8, b"\0") + FIRMWARE).ljust(512, b"\0")  # AFI: slot 1


def _changed_namespaces(model: Model, test: SelfTestStatus) -> bytes:
    nsids = sorted(model.changed)
    if len(nsids) > _LIST_ENTRIES:
        nsids = [BROADCAST_NSID]
    return b"".join(nsid.to_bytes(4, "little") for nsid in nsids).ljust(4 * _LIST_ENTRIES, b"\0")


_CSUPP, _LBCC, _NCC, _NIC = 1, 1 << 1, 1 << 2, 1 << 3
_SAME_NAMESPACE = 1 << 16  # CSE: nothing else may run on the namespace
_ADMIN_EFFECTS = {
    AdminOpcode.DELETE_SQ: 0,
    AdminOpcode.CREATE_SQ: 0,
    AdminOpcode.GET_LOG_PAGE: 0,
    AdminOpcode.DELETE_CQ: 0,
    AdminOpcode.CREATE_CQ: 0,
    AdminOpcode.IDENTIFY: 0,
    AdminOpcode.ABORT: 0,
    AdminOpcode.SET_FEATURES: _NCC,
    AdminOpcode.GET_FEATURES: 0,
    AdminOpcode.ASYNC_EVENT_REQUEST: 0,
    AdminOpcode.DEVICE_SELF_TEST: 0,
    AdminOpcode.FORMAT_NVM: _LBCC | _NCC | _SAME_NAMESPACE,
}
_IO_EFFECTS = {
    Opcode.FLUSH: 0,
    Opcode.WRITE: _LBCC,
    Opcode.READ: 0,
    Opcode.COMPARE: 0,
    Opcode.WRITE_ZEROES: _LBCC,
    Opcode.DATASET_MANAGEMENT: _LBCC,
    Opcode.VERIFY: 0,
}


def _effects(model: Model, test: SelfTestStatus) -> bytes:
    data = bytearray(4096)
    for base, effects in ((0, _ADMIN_EFFECTS), (1024, _IO_EFFECTS)):
        for opcode, effect in effects.items():
            at = base + 4 * opcode
            data[at : at + 4] = (_CSUPP | effect).to_bytes(4, "little")
    return bytes(data)


def _self_test(model: Model, test: SelfTestStatus) -> bytes:
    head = bytes([test.code, test.percent, 0, 0])
    results = b"".join(bytes.fromhex(result) for result in model.state.self_tests)
    unused = bytes([0xF]).ljust(28, b"\0")
    missing = 20 - len(model.state.self_tests)
    data = head + results + unused * missing
    assert len(data) == SELF_TEST_LOG_BYTES
    return data


_BY_LID: dict[int, Callable[[Model, SelfTestStatus], bytes]] = {
    0x01: _error_log,
    0x02: _smart,
    0x03: _firmware,
    CHANGED_NAMESPACES: _changed_namespaces,
    0x05: _effects,
    0x06: _self_test,
}
_OF_THE_CONTROLLER = (0, BROADCAST_NSID)  # LPA bit 0 is clear: no SMART log per namespace


def get_log_page(model: Model, test: SelfTestStatus, command: Values) -> tuple[bytes, bool]:
    """Return the data of a Get Log Page command, and whether it acknowledges events (RAE=0)."""
    lid = command.cdw10 & 0xFF
    length = 4 * ((command.cdw10 >> 16 | (command.cdw11 & 0xFFFF) << 16) + 1)
    offset = command.cdw12 | command.cdw13 << 32
    build = _BY_LID.get(lid)
    if build is None:
        raise CommandFailed(StatusCode.INVALID_LOG_PAGE, 40)
    if lid == 0x02 and command.nsid not in _OF_THE_CONTROLLER:
        raise invalid_field(4)
    data = build(model, test)
    if length > MAXIMUM_TRANSFER_BYTES:
        raise invalid_field(42)
    if offset % 4 or offset > len(data):
        raise invalid_field(48)
    if lid == CHANGED_NAMESPACES:
        model.changed.clear()
    return data[offset : offset + length].ljust(length, b"\0"), not command.cdw10 >> 15 & 1
