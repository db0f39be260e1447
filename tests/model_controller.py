"""A model of a controller with one namespace, that executes NVMe commands at once.

`ModelController` is a verified fake: the integration tests run the same
scripts against a real controller. Extend it by adding a handler to its
`io` or `admin` table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from scsi2nvme.executor import first_failure
from scsi2nvme.nvme.command import AdminOpcode, Completed, Completion, Fuse, NvmeCommand, Opcode
from scsi2nvme.nvme.copying import SOURCE_RANGE
from scsi2nvme.nvme.lba_status import Action, build
from scsi2nvme.nvme.log_structures import SANITIZE_STATUS, TELEMETRY_HEADER
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.structures import (
    DSM_RANGE,
    ERROR_LOG_ENTRY,
    IDENTIFY_BYTES,
    IDENTIFY_CONTROLLER,
    IDENTIFY_NAMESPACE,
    SELF_TEST_LOG_BYTES,
    SELF_TEST_RESULT,
    SMART_LOG,
)
from scsi2nvme.scsi.result import (
    ControllerReset,
    Errand,
    NvmeError,
    Progress,
    Result,
    Translation,
)

INVALID_OPCODE = 0x001
INVALID_FIELD = 0x002
FAILED_FUSED = 0x009
MISSING_FUSED = 0x00A
INVALID_NAMESPACE = 0x00B
ATOMIC_WRITE_UNIT_EXCEEDED = 0x014
SANITIZE_FAILED = 0x01C
SANITIZE_IN_PROGRESS = 0x01D
LBA_OUT_OF_RANGE = 0x080
INVALID_FIRMWARE_SLOT = 0x106
INVALID_FIRMWARE_IMAGE = 0x107
INVALID_LOG_PAGE = 0x109
INVALID_FORMAT = 0x10A
NOT_SAVEABLE = 0x10D
READ_ONLY = 0x182
UNRECOVERED_READ = 0x281
COMMAND_SIZE_LIMIT_EXCEEDED = 0x183
COMPARE_FAILURE = 0x285

PRACT = 1 << 29  # CDW12
MADE = b"PIBYCTRL"  # the tuple of a block that was written without one
DEALLOCATE = 1 << 2  # CDW11 of Dataset Management
DEAC = 1 << 25  # CDW12 of Write Zeroes
SAVE = 1 << 31  # CDW10 of Set Features
ACTIVATE_AT_ONCE = 3  # CA of Firmware Commit
ONCS_BITS: dict[int, int] = {
    Opcode.COMPARE: 0,
    Opcode.WRITE_UNCORRECTABLE: 1,
    Opcode.DATASET_MANAGEMENT: 2,
    Opcode.WRITE_ZEROES: 3,
    Opcode.VERIFY: 7,
    Opcode.COPY: 8,
}
_NAME_BLOCKS = (Opcode.READ, Opcode.WRITE, Opcode.COMPARE, Opcode.WRITE_ZEROES, Opcode.VERIFY)
FEATURES = {0x02: 0, 0x04: 343, 0x05: 0, 0x06: 1, 0x0B: 0, 0x0C: 0, 0x0E: 0, 0x84: 0}


class StatusError(Exception):
    """Raised by a handler of the model: the NVMe command fails with this status."""

    def __init__(self, status: int, dnr: bool = True) -> None:
        super().__init__(f"{status:#x}")
        self.status = status
        self.dnr = dnr


class ModelController:
    """One controller with one namespace in memory, that executes what it is given.

    `executed` lists every command in order. `faults` maps an opcode to the
    statuses that its next commands fail with, `bad_blocks` LBAs to the status of
    I/O commands that name them, which the error log tells of if `logs_errors`.
    `progress` lists what long translations yielded.
    """

    def __init__(self, facts: NamespaceFacts) -> None:
        self.facts = facts
        self.medium = bytearray(facts.capacity_blocks * facts.block_bytes)
        self.executed: list[NvmeCommand] = []
        self.tuples: dict[int, bytes] = {}
        self.deallocated: list[tuple[int, int]] = []
        self.marked: set[int] = set()  # by Write Uncorrectable
        self.faults: dict[int, list[int]] = {}
        self.bad_blocks: dict[int, int] = {}
        self.logs_errors = True
        self.progress: list[Progress] = []
        self.resets: list[str] = []  # that translations asked for, with their reasons
        self.firmware: dict[int, bytes] = {}  # what was downloaded, by offset
        self.next_revision = b""  # what a reset makes the firmware revision, if anything
        self.formatting_steps: list[int] = []  # FPI after a format, per Identify Namespace
        self.features = dict(FEATURES)
        self.default_features = dict(FEATURES)
        self.saved_features = dict(FEATURES)
        self.timestamp = bytes(8)
        self.sanitizing_steps: list[int] = []  # SPROG after Sanitize, per look at the log
        self.unsanitary: set[int] = set()  # CDW10 of Sanitize: operations that fail
        # What Get LBA Status tells: blocks that are unreadable, and allocated.
        self.unreadable: list[range] = []
        self.allocated: list[range] = []
        self.logs: dict[int, bytes] = {
            0x01: bytes(64 * 64),
            0x02: SMART_LOG.build(
                temperature=300, avail_spare=100, spare_thresh=10, power_on_hours=100
            ),
            0x03: bytes([0x01]) + bytes(7) + b"1.0".ljust(8) + bytes(496),
            0x07: TELEMETRY_HEADER.build(lid=7, ieee=0x123456, area1_last=1, area3_last=2)
            + bytes(range(256)) * 4,
            0x08: TELEMETRY_HEADER.build(lid=8, area1_last=1, available=1) + b"\x08" * 512,
            0x06: bytes(4) + SELF_TEST_RESULT.build(result=0xF) * 20,
            0x81: SANITIZE_STATUS.build(sprog=0xFFFF),
        }
        assert len(self.logs[0x06]) == SELF_TEST_LOG_BYTES
        self.io: dict[int, Callable[[NvmeCommand], bytes | Completion | None]] = {
            Opcode.FLUSH: lambda command: None,
            Opcode.WRITE: self._write,
            Opcode.READ: self._read,
            Opcode.COMPARE: self._compare,
            Opcode.WRITE_ZEROES: self._write_zeroes,
            Opcode.DATASET_MANAGEMENT: self._dataset_management,
            Opcode.VERIFY: lambda command: void(self._readable(command)),
            Opcode.WRITE_UNCORRECTABLE: self._mark,
            Opcode.COPY: self._copy,
        }
        self.admin: dict[int, Callable[[NvmeCommand], bytes | Completion | None]] = {
            AdminOpcode.DIRECTIVE_SEND: lambda command: None,
            AdminOpcode.IDENTIFY: self._identify,
            AdminOpcode.GET_LOG_PAGE: self._get_log_page,
            AdminOpcode.GET_FEATURES: self._get_features,
            AdminOpcode.SET_FEATURES: self._set_features,
            AdminOpcode.FORMAT_NVM: self._format,
            AdminOpcode.SECURITY_RECEIVE: self._security_receive,
            AdminOpcode.SECURITY_SEND: lambda command: None,
            AdminOpcode.SANITIZE: self._sanitize,
            AdminOpcode.GET_LBA_STATUS: self._get_lba_status,
            AdminOpcode.FIRMWARE_IMAGE_DOWNLOAD: self._download,
            AdminOpcode.FIRMWARE_COMMIT: self._commit,
        }

    # Driving

    def play(self, translation: Translation) -> Result:
        """Run a translation to its end; `Result.background` is left to the caller."""
        answer: Any = None
        error: NvmeError | None = None
        while True:
            try:
                wanted = translation.throw(error) if error else translation.send(answer)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            answer, error = None, None
            if isinstance(wanted, Progress):
                self.progress.append(wanted)
                continue
            if isinstance(wanted, Errand):
                outcomes: list[Any] = []
                wanted.start(outcomes.append)
                (answer,) = outcomes
                continue
            if isinstance(wanted, ControllerReset):
                self.reset(wanted.reason)
                continue
            commands = (wanted,) if isinstance(wanted, NvmeCommand) else wanted
            assert commands, "a translation yielded no command at all"
            completions = self.execute(*commands)
            error = first_failure(commands, completions)
            answer = completions[0] if isinstance(wanted, NvmeCommand) else completions

    def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        """Execute commands in order, a fused pair as a pair."""
        completions: list[Completion] = []
        for index, command in enumerate(commands):
            self.executed.append(command)
            command = with_data(command)
            if command.fuse is Fuse.FIRST:
                mate = commands[index + 1] if index + 1 < len(commands) else None
                paired = mate is not None and mate.fuse is Fuse.SECOND
                completions.append(self._one(command) if paired else failure(MISSING_FUSED))
            elif command.fuse is Fuse.SECOND:
                first = commands[index - 1] if index else None
                if first is None or first.fuse is not Fuse.FIRST:
                    completions.append(failure(MISSING_FUSED))
                elif command.blocks > self.facts.controller.acwu + 1:
                    completions[-1] = failure(ATOMIC_WRITE_UNIT_EXCEEDED)
                    completions.append(failure(FAILED_FUSED))
                elif completions[-1].status:
                    completions.append(failure(FAILED_FUSED))
                else:
                    assert (first.slba, first.blocks) == (command.slba, command.blocks)
                    completions.append(self._one(command))
            else:
                completions.append(self._one(command))
        return tuple(completions)

    def _one(self, command: NvmeCommand) -> Completion:
        planned = self.faults.get(command.opcode)
        if planned:
            return failure(planned.pop(0))
        bad = self._bad_block(command)
        if bad is not None:
            return bad
        handler = (self.admin if command.admin else self.io).get(command.opcode)
        supported = command.admin or self._supports(command.opcode)
        try:
            if handler is None or not supported:
                raise StatusError(INVALID_OPCODE)
            if not command.admin:
                self._check_sanitized()
            answer = handler(command)
        except StatusError as error:
            return failure(error.status, error.dnr)
        if isinstance(answer, Completion):
            return answer
        data = answer or b""
        if command.memory is not None and command.data_in:
            command.memory.view()[:] = data
            return Completion()
        assert len(data) == command.data_in, f"{command.name}: {len(data)} != {command.data_in}"
        return Completion(data=data)

    def _bad_block(self, command: NvmeCommand) -> Completion | None:
        """Return how a command fails that names a bad block, the first of them logged."""
        named = range(command.slba, command.slba + command.blocks)
        bad = sorted(lba for lba in self.bad_blocks if lba in named)
        if command.admin or command.opcode not in _NAME_BLOCKS or not bad:
            return None
        status, cid = self.bad_blocks[bad[0]], len(self.executed)
        if not self.logs_errors:
            return Completion(status)
        entry = ERROR_LOG_ENTRY.build(
            error_count=cid, sqid=1, cmdid=cid, status_field=status, lba=bad[0], nsid=command.nsid
        )
        self.logs[0x01] = (entry + self.logs[0x01])[: len(self.logs[0x01])]
        return Completion(status, more=True, sqid=1, cid=cid)

    def _supports(self, opcode: int) -> bool:
        bit = ONCS_BITS.get(opcode)
        return bit is None or self.facts.controller_bit("oncs", bit)

    def opcodes(self) -> list[int]:
        """The opcodes of what was executed."""
        return [command.opcode for command in self.executed]

    def reset(self, reason: str) -> None:
        """A controller level reset."""
        self.resets.append(reason)
        self.firmware.clear()
        if self.next_revision:
            self.change_controller(fr=self.next_revision)
            self.next_revision = b""

    # The medium

    @property
    def block_bytes(self) -> int:
        """The logical block length."""
        return self.facts.block_bytes

    def fill(self, lba: int, data: bytes) -> None:
        """Put data on the medium behind everybody's back."""
        start = lba * self.block_bytes
        assert start + len(data) <= len(self.medium)
        self.medium[start : start + len(data)] = data

    def blocks(self, lba: int, count: int = 1) -> bytes:
        """Return what stands on the medium."""
        return bytes(self.medium[lba * self.block_bytes : (lba + count) * self.block_bytes])

    def _range(self, lba: int, blocks: int) -> slice:
        if lba + blocks > self.facts.capacity_blocks:
            raise StatusError(LBA_OUT_OF_RANGE)
        return slice(lba * self.block_bytes, (lba + blocks) * self.block_bytes)

    def _place(self, command: NvmeCommand) -> slice:
        """Return where on the medium a command works, after the common checks."""
        if command.nsid != self.facts.nsid:
            raise StatusError(INVALID_NAMESPACE)
        moved = len(command.data_out) + command.data_in
        if moved > self.facts.maximum_transfer_bytes:
            raise StatusError(INVALID_FIELD)
        if command.opcode in (Opcode.READ, Opcode.WRITE, Opcode.COMPARE):
            size = self.block_bytes + self._behind(command)
            assert moved == command.blocks * size, f"{command.name} moves {moved}"
        return self._range(command.slba, command.blocks)

    def _behind(self, command: NvmeCommand) -> int:
        """Return how many bytes of metadata move behind each block. Only extended LBAs do."""
        kept = not self.facts.protection_type or command.cdw12 & PRACT
        return 0 if kept else self.facts.lba_format.ms

    def _readable(self, command: NvmeCommand) -> slice:
        """Return where a command reads; a block that is marked cannot be read."""
        if not self.marked.isdisjoint(range(command.slba, command.slba + command.blocks)):
            raise StatusError(UNRECOVERED_READ, dnr=False)
        return self._place(command)

    def _mark(self, command: NvmeCommand) -> None:
        self._place(command)
        self._writable()
        self.marked.update(range(command.slba, command.slba + command.blocks))

    def _write(self, command: NvmeCommand) -> None:
        place = self._place(command)
        self._writable()
        self.marked.difference_update(range(command.slba, command.slba + command.blocks))
        self.sanitize_log(global_erased=0)
        behind, size = self._behind(command), self.block_bytes
        data, pieces = command.data_out, range(command.blocks)
        if behind:
            data = b"".join(data[n * (size + behind) :][:size] for n in pieces)
        for n in pieces:
            tuple_ = command.data_out[n * (size + behind) + size :][:behind]
            self.tuples[command.slba + n] = tuple_ or MADE
        self.medium[place] = data

    def _writable(self) -> None:
        self.sanitize_log(global_erased=0)
        if self.facts.namespace.nsattr & 1:
            raise StatusError(READ_ONLY)

    def _read(self, command: NvmeCommand) -> bytes:
        data, behind = bytes(self.medium[self._readable(command)]), self._behind(command)
        if not behind:
            return data
        size = self.block_bytes
        return b"".join(
            data[n * size : (n + 1) * size] + self.tuples.get(command.slba + n, b"\xff" * behind)
            for n in range(command.blocks)
        )

    def _compare(self, command: NvmeCommand) -> None:
        if bytes(self.medium[self._readable(command)]) != command.data_out:
            raise StatusError(COMPARE_FAILURE)

    def _write_zeroes(self, command: NvmeCommand) -> None:
        place = self._place(command)
        self._writable()
        exponent = self.facts.nvm_controller.wzsl
        if exponent and command.blocks * self.block_bytes > 4096 << exponent:
            raise StatusError(INVALID_FIELD)
        if command.cdw12 & DEAC:
            self.deallocated.append((command.slba, command.blocks))
        self.medium[place] = bytes(place.stop - place.start)

    def _copy(self, command: NvmeCommand) -> None:
        ranges = (command.cdw12 & 0xFF) + 1
        assert len(command.data_out) == ranges * SOURCE_RANGE.size
        limits, data = self.facts.namespace, b""
        entries = [SOURCE_RANGE.parse(command.data_out[32 * n :]) for n in range(ranges)]
        total = sum(each.nlb + 1 for each in entries)
        longest = max(each.nlb + 1 for each in entries)
        if ranges > limits.msrc + 1 or longest > limits.mssrl or total > limits.mcl:
            raise StatusError(COMMAND_SIZE_LIMIT_EXCEEDED)
        for each in entries:
            data += bytes(self.medium[self._range(each.slba, each.nlb + 1)])
        self._writable()
        self.medium[self._range(command.slba, total)] = data

    def _dataset_management(self, command: NvmeCommand) -> None:
        ranges = (command.cdw10 & 0xFF) + 1
        assert len(command.data_out) == ranges * DSM_RANGE.size
        limits = self.facts.nvm_controller
        total = 0
        if limits.dmrl and ranges > limits.dmrl:
            raise StatusError(INVALID_FIELD)
        for index in range(ranges):
            each = DSM_RANGE.parse(command.data_out[index * DSM_RANGE.size :])
            total += each.nlb
            if limits.dmrsl and each.nlb > limits.dmrsl:
                raise StatusError(INVALID_FIELD)
            place = self._range(each.slba, each.nlb)
            if command.cdw11 & DEALLOCATE:
                self._writable()
                self.deallocated.append((each.slba, each.nlb))
                self.medium[place] = bytes(place.stop - place.start)
        if limits.dmsl and total > limits.dmsl:
            raise StatusError(INVALID_FIELD)

    # Admin commands

    def sanitize_log(self, **values: int) -> None:
        """Change fields of the Sanitize Status log."""
        raw = bytearray(self.logs[0x81])
        SANITIZE_STATUS.write(raw, **values)
        self.logs[0x81] = bytes(raw)

    @property
    def sanitize_state(self) -> int:
        """SSTAT: 0 never, 1 done, 2 under way, 3 failed."""
        return int(SANITIZE_STATUS.parse(self.logs[0x81]).state)

    def _sanitize(self, command: NvmeCommand) -> None:
        if self.sanitize_state == 2:
            raise StatusError(SANITIZE_IN_PROGRESS, dnr=False)
        action = command.cdw10 & 7
        capability = {2: 1, 3: 2, 4: 0}.get(action)
        if action == 1:
            self.sanitize_log(state=1)
            return
        if capability is None or not self.facts.controller_bit("sanicap", capability):
            raise StatusError(INVALID_FIELD)
        self.sanitize_log(state=2, cdw10_info=command.cdw10, global_erased=0, sprog=0)
        keeps = action == 3 and command.cdw10 & 1 << 9
        pattern = command.cdw11.to_bytes(4, "little") if keeps else bytes(4)
        self.medium[:] = pattern * (len(self.medium) // 4)

    def _advance_sanitize(self) -> None:
        if self.sanitize_state != 2:
            return
        if self.sanitizing_steps:
            self.sanitize_log(sprog=self.sanitizing_steps.pop(0))
            return
        fails = SANITIZE_STATUS.parse(self.logs[0x81]).cdw10_info in self.unsanitary
        self.sanitize_log(state=3 if fails else 1, sprog=0xFFFF, global_erased=not fails)

    def _check_sanitized(self) -> None:
        if self.sanitize_state in (2, 3):
            status = SANITIZE_IN_PROGRESS if self.sanitize_state == 2 else SANITIZE_FAILED
            raise StatusError(status, dnr=status == SANITIZE_FAILED)

    def _identify(self, command: NvmeCommand) -> bytes:
        match command.cdw10 & 0xFF:
            case 0x00:
                return self._identify_namespace(command)
            case 0x01:
                return self.facts.controller.raw
            case 0x02:
                active = self.facts.nsid if command.nsid < self.facts.nsid else 0
                return active.to_bytes(4, "little").ljust(IDENTIFY_BYTES, b"\0")
            case 0x03:
                nguid = b"\x02\x10\0\0" + self.facts.nguid if self.facts.nguid else b""
                eui64 = b"\x01\x08\0\0" + self.facts.eui64 if self.facts.eui64 else b""
                return (eui64 + nguid).ljust(IDENTIFY_BYTES, b"\0")
            case 0x06:
                return self.facts.nvm_controller.raw
        raise StatusError(INVALID_FIELD)

    def _identify_namespace(self, command: NvmeCommand) -> bytes:
        if command.nsid != self.facts.nsid:
            return bytes(IDENTIFY_BYTES)  # an inactive namespace
        raw = bytearray(self.facts.namespace.raw)
        if self.formatting_steps:
            IDENTIFY_NAMESPACE.write(raw, fpi=0x80 | self.formatting_steps.pop(0))
        return bytes(raw)

    def change_namespace(self, **values: int | bytes) -> None:
        """Change fields of Identify Namespace."""
        raw = bytearray(self.facts.namespace.raw)
        IDENTIFY_NAMESPACE.write(raw, **values)
        self.facts = replace(self.facts, namespace=IDENTIFY_NAMESPACE.parse(raw))

    def change_controller(self, **values: int | bytes) -> None:
        """Change fields of Identify Controller."""
        raw = bytearray(self.facts.controller.raw)
        IDENTIFY_CONTROLLER.write(raw, **values)
        self.facts = replace(self.facts, controller=IDENTIFY_CONTROLLER.parse(raw))

    def _download(self, command: NvmeCommand) -> None:
        assert len(command.data_out) == 4 * (command.cdw10 + 1)
        if command.cdw11 == 0:
            self.firmware.clear()
        self.firmware[4 * command.cdw11] = command.data_out

    def _commit(self, command: NvmeCommand) -> None:
        """An image is its revision, eight bytes, and anything."""
        slot, action = command.cdw10 & 7, command.cdw10 >> 3 & 7
        if slot > self.facts.controller.frmw >> 1 & 7:
            raise StatusError(INVALID_FIRMWARE_SLOT)
        image = b"".join(self.firmware[offset] for offset in sorted(self.firmware))
        if not image:
            raise StatusError(INVALID_FIRMWARE_IMAGE)
        self.firmware.clear()
        if action == ACTIVATE_AT_ONCE:
            self.change_controller(fr=image[:8])
        else:
            self.next_revision = image[:8]

    def _get_log_page(self, command: NvmeCommand) -> bytes:
        if command.cdw10 & 0xFF == 0x81:
            self._advance_sanitize()
        log = self.logs.get(command.cdw10 & 0xFF)
        if log is not None and command.cdw10 & 0xFF == 0x07 and command.cdw10 >> 8 & 1:
            generation = bytes([log[381] + 1 & 0xFF])  # another snapshot
            log = self.logs[0x07] = log[:381] + generation + log[382:]
        if log is None:
            raise StatusError(INVALID_LOG_PAGE)
        dwords = (command.cdw10 >> 16 | (command.cdw11 & 0xFFFF) << 16) + 1
        offset = command.cdw12 | command.cdw13 << 32
        return log[offset : offset + 4 * dwords].ljust(4 * dwords, b"\0")

    def _get_lba_status(self, command: NvmeCommand) -> bytes:
        action, lba = command.cdw13 >> 24, command.cdw10 | command.cdw11 << 32
        if action not in (Action.TRACKED, Action.ALLOCATED):
            raise StatusError(INVALID_FIELD)
        told = self.unreadable if action == Action.TRACKED else self.allocated
        cut = ((range(max(each.start, lba), each.stop), 0) for each in told)
        most = (4 * (command.cdw12 + 1) - 8) // 16
        data = build(((blocks, status) for blocks, status in cut if blocks), most)
        return data.ljust(command.data_in, b"\0")

    def _get_features(self, command: NvmeCommand) -> Completion:
        fid, select = command.cdw10 & 0xFF, command.cdw10 >> 8 & 7
        tables = {0: self.features, 1: self.default_features, 2: self.saved_features}
        if fid not in self.features or select not in (0, 1, 2, 3):
            raise StatusError(INVALID_FIELD)
        if select == 3:
            return Completion(dw0=0b101)  # saveable, changeable
        data = self.timestamp if fid == 0x0E else b""
        assert command.data_in == len(data)
        return Completion(dw0=tables[select][fid], data=data)

    def _set_features(self, command: NvmeCommand) -> None:
        fid = command.cdw10 & 0xFF
        if fid not in self.features:
            raise StatusError(INVALID_FIELD)
        if fid == 0x02 and command.cdw11 & 0x1F > self.facts.controller.npss:
            raise StatusError(INVALID_FIELD)
        if command.cdw10 & SAVE:
            if not self.facts.controller.oncs & 0x10:
                raise StatusError(NOT_SAVEABLE)
            self.saved_features[fid] = command.cdw11
        if fid == 0x0E:
            self.timestamp = command.data_out[:6] + bytes([1 << 1, 0])  # set by the host
        if fid == 0x84:
            self.change_namespace(nsattr=int(command.cdw11 & 7 != 0))
        self.features[fid] = command.cdw11

    def _security_receive(self, command: NvmeCommand) -> bytes:
        if command.cdw10 >> 8:  # all but the list of protocols
            raise StatusError(INVALID_FIELD)
        return bytes([0, 0, 0, 0, 0, 0, 0, 1, 0]).ljust(command.cdw11, b"\0")[: command.cdw11]

    def _format(self, command: NvmeCommand) -> None:
        index = (command.cdw10 & 0xF) | (command.cdw10 >> 12 & 3) << 4
        kind = command.cdw10 >> 5 & 7
        if index >= len(self.facts.lba_formats):
            raise StatusError(INVALID_FORMAT)
        if kind and (kind > 3 or not self.facts.lba_formats[index].ms):
            raise StatusError(INVALID_FORMAT)
        total = len(self.medium)
        blocks = total >> self.facts.lba_formats[index].lbads
        flbas = (index & 0xF) | (index >> 4) << 5 | command.cdw10 & 0x10
        dps = command.cdw10 >> 5 & 0xF
        self.change_namespace(flbas=flbas, dps=dps, nsze=blocks, ncap=blocks)
        self.medium = bytearray(total)


class Lent:
    """Memory of the model's."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def slice(self, offset: int, length: int) -> Lent:
        """Return a part of it."""
        assert offset + length <= len(self._data)
        return Lent(self._data[offset : offset + length])

    def view(self) -> memoryview:
        """Return the memory itself."""
        return self._data


def with_data(command: NvmeCommand) -> NvmeCommand:
    """Return a command with the data that stand in memory."""
    if command.memory is None:
        return command
    view = command.memory.view()
    if command.opcode == Opcode.READ:
        return replace(command, data_in=len(view))
    return replace(command, data_out=bytes(view))


def void(_: object) -> None:
    """Turn a value into none, for handlers that only check."""


def failure(status: int, dnr: bool = True) -> Completion:
    """Return a completion that failed."""
    return Completion(status=status, dnr=dnr)


class Awaited:
    """An executor by its `execute`, which is cancelled where nobody wants it any more."""

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        """Run the commands together."""
        raise NotImplementedError

    def start(
        self, commands: tuple[NvmeCommand, ...], completed: Completed, party: Hashable = None
    ) -> Callable[[], None]:
        """See `NvmeExecutor`."""

        def ended(work: asyncio.Task[tuple[Completion, ...]]) -> None:
            if work.cancelled():
                completed(asyncio.CancelledError())
            else:
                completed(work.exception() or work.result())

        work = asyncio.get_running_loop().create_task(self.execute(*commands))
        work.add_done_callback(ended)
        return lambda: void(work.cancel())

    async def reset(self, reason: str) -> None:
        """See `NvmeExecutor`."""

    @asynccontextmanager
    async def borrow(self, length: int, party: Hashable = None) -> AsyncIterator[Lent]:
        """See `DataExecutor`."""
        yield Lent(memoryview(bytearray(length)))


class ModelExecutor(Awaited):
    """Answers a logical unit's NVMe commands from the model."""

    def __init__(self, model: ModelController) -> None:
        self.model = model

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        """See `ModelController.execute`."""
        return self.model.execute(*commands)

    async def reset(self, reason: str) -> None:
        """See `ModelController.reset`."""
        self.model.reset(reason)
