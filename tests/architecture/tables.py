"""What the house allows itself, each with its reason.

Every circle stands with its reason in docs/architecture.md as well. A file of more than
500 lines holds one idea, named here. What is no longer so is an error, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """Between what a circle runs."""

    MODULES = "Python modules, by imports"
    ROOMS = "Python rooms, by imports"
    INCLUDES = "C files, by includes"
    SYMBOLS = "C files, by symbols"


@dataclass(frozen=True)
class Circle:
    """What depends on itself by way of others, and why it does."""

    kind: Kind
    members: tuple[str, ...]
    reason: str

    @property
    def line(self) -> str:
        """The circle as a row of docs/architecture.md."""
        return f"| {', '.join(f'`{name}`' for name in self.members)} | {self.reason} |"


CIRCLES = (
    Circle(
        Kind.SYMBOLS,
        (
            "target/iscsi/csrc/iscsi.c",
            "target/iscsi/csrc/iscsi_collect.c",
            "target/iscsi/csrc/iscsi_command.c",
            "target/iscsi/csrc/iscsi_fence.c",
            "target/iscsi/csrc/iscsi_order.c",
            "target/iscsi/csrc/iscsi_peer.c",
            "target/iscsi/csrc/iscsi_receive.c",
            "target/iscsi/csrc/iscsi_transmit.c",
        ),
        "A connection is one protocol machine: what comes in may be answered at once, and an "
        "answer that has left lets more come in.",
    ),
    Circle(
        Kind.SYMBOLS,
        ("target/tcmu/csrc/tcmu.c", "target/tcmu/csrc/tcmu_move.c"),
        "A device takes commands where it is, and goes elsewhere when it has taken them.",
    ),
)

# File: the one idea that it holds.
BIG_FILES = {
    "drivers/emulated/csrc/command.c": "one command, from its entry to its completion",
    "drivers/nvme/controller.py": "one controller, from bring-up to the end",
    "drivers/nvme/csrc/qpair.c": "one queue pair: rings, PRPs, deadlines, replay",
    "tests/commands/vectors.py": "a vector for each row of the command table",
    "tests/model_controller.py": "one controller's answers, command by command",
    "tests/iscsi_client.py": "an iSCSI initiator, PDU by PDU",
}
