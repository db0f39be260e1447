"""Reservations that a namespace keeps itself. Spec: NVMe Base 2.0c 7.2 to 7.4, 8.19."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.passing.conversation import Conversation, Shown, succeed
from scsi2nvme.cli.passing.row import FORCE, Option, Row, always, flag, namespace_id, number
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.reservations import ACQUIRE_DATA, IGNORE_KEY, REGISTER_DATA, RELEASE_DATA


def _send(
    given: argparse.Namespace, opcode: Opcode, cdw10: int, data: bytes
) -> Conversation[Shown]:
    cdw10 |= IGNORE_KEY if given.iekey else 0
    command = NvmeCommand(opcode, given.namespace_id, cdw10=cdw10, data_out=data)
    yield from succeed(command, given.subcommand)
    return Shown((f"NVME {command.name} success",))


def _register(given: argparse.Namespace) -> Conversation[Shown]:
    data = REGISTER_DATA.build(crkey=given.crkey, nrkey=given.nrkey)
    cdw10 = given.rrega | given.cptpl << 30
    return (yield from _send(given, Opcode.RESERVATION_REGISTER, cdw10, data))


def _acquire(given: argparse.Namespace) -> Conversation[Shown]:
    data = ACQUIRE_DATA.build(crkey=given.crkey, prkey=given.prkey)
    cdw10 = given.racqa | given.rtype << 8
    return (yield from _send(given, Opcode.RESERVATION_ACQUIRE, cdw10, data))


def _release(given: argparse.Namespace) -> Conversation[Shown]:
    data = RELEASE_DATA.build(crkey=given.crkey)
    cdw10 = given.rrela | given.rtype << 8
    return (yield from _send(given, Opcode.RESERVATION_RELEASE, cdw10, data))


_KEY = Option("crkey", "c", "the key that this host has", number(64))
_TYPE = Option(
    "rtype",
    "t",
    "1 write exclusive, 2 exclusive access, 3 and 4 the same, registrants excepted, 5 and 6 the "
    "same, of all registrants",
    number(8),
)
_IGNORE = flag("iekey", "i", "whatever key this host has")
_WHOSE = (
    "The host is who the controller's Host Identifier (feature 81h) says; while a daemon serves "
    "the namespace, that is the daemon, and it wants --force."
)

ROWS = (
    Row(
        "resv-register",
        "register with a namespace, whose reservations are for registrants",
        f"Register a key with a namespace, replace it, or be registered no more. {_WHOSE}",
        (
            namespace_id(),
            _KEY,
            Option("nrkey", "k", "the key that it has from then on", number(64)),
            Option("rrega", "r", "0 register, 1 unregister, 2 replace", number(3)),
            Option("cptpl", "p", "2 forget all by a power loss, 3 keep it, 0 as it is", number(2)),
            _IGNORE,
            FORCE,
        ),
        _register,
        always,
    ),
    Row(
        "resv-acquire",
        "reserve a namespace, or take a reservation from others",
        f"Reserve a namespace, or preempt others. {_WHOSE}",
        (
            namespace_id(),
            _KEY,
            Option("prkey", "p", "the key of those who are preempted", number(64)),
            _TYPE,
            Option("racqa", "a", "0 acquire, 1 preempt, 2 preempt and abort", number(3)),
            _IGNORE,
            FORCE,
        ),
        _acquire,
        always,
    ),
    Row(
        "resv-release",
        "give a reservation up, or clear all of a namespace",
        f"Release a reservation, or clear it and all registrations. {_WHOSE}",
        (
            namespace_id(),
            _KEY,
            _TYPE,
            Option("rrela", "a", "0 release, 1 clear", number(3)),
            _IGNORE,
            FORCE,
        ),
        _release,
        always,
    ),
)
