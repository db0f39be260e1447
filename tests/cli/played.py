"""Verbs for one command of NVMe, as they are played without a controller."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from scsi2nvme.__main__ import build_parser
from scsi2nvme.cli.passing.conversation import Shown, heard
from scsi2nvme.cli.verbs.passing import rows
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.structures import IDENTIFY_NAMESPACE, LBA_FORMAT

NAMESPACE = IDENTIFY_NAMESPACE.build(
    nlbaf=2, flbas=1, lbafs=b"".join(LBA_FORMAT.build(lbads=n) for n in (9, 12, 13))
)


def given(line: str) -> argparse.Namespace:
    return build_parser().parse_args(line.split())


def played(
    line: str,
    answer: Callable[[NvmeCommand], Completion] = lambda command: Completion(),
    done: Callable[[float], None] = lambda fraction: None,
    namespace: Callable[[int], bytes] = lambda nsid: NAMESPACE,
) -> tuple[list[Any], Shown]:
    """Return what a verb asks, and shows, where Identify tells of `namespace` by NSID."""
    arguments = given(line)
    (one,) = (each for each in rows() if arguments.subcommand in (each.name, each.alias))
    conversation = heard(one.converse(arguments), done)
    asked: list[Any] = []
    told: Any = None
    while True:
        try:
            question = conversation.send(told)
        except StopIteration as ended:
            return asked, ended.value
        asked.append(question)
        if isinstance(question, NvmeCommand):
            names = question.admin and question.opcode == AdminOpcode.IDENTIFY
            told = (
                Completion(data=namespace(question.nsid))
                if names and not question.cdw10
                else answer(question)
            )
        else:
            told = None
