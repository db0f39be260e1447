"""What may be sent twice."""

import pytest

from scsi2nvme.drivers.nvme.retry import retry_delay_s
from scsi2nvme.nvme.command import AdminOpcode, Completion, Fuse, NvmeCommand, Opcode
from scsi2nvme.nvme.repeating import repeatable
from scsi2nvme.nvme.status import StatusCode


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (NvmeCommand(Opcode.READ), True),
        (NvmeCommand(Opcode.WRITE), True),
        (NvmeCommand(Opcode.COMPARE, fuse=Fuse.FIRST), False),
        (NvmeCommand(Opcode.WRITE, fuse=Fuse.SECOND), False),
        (NvmeCommand(Opcode.RESERVATION_ACQUIRE), False),
        (NvmeCommand(Opcode.COPY), True),
        (NvmeCommand(0xC1), False),
        (NvmeCommand(AdminOpcode.IDENTIFY, admin=True), True),
        (NvmeCommand(AdminOpcode.FORMAT_NVM, admin=True), False),
        # The opcodes of the two sets mean different things.
        (NvmeCommand(AdminOpcode.DELETE_SQ, admin=True), False),
        (NvmeCommand(AdminOpcode.ABORT, admin=True), False),
    ],
)
def test_repeatable(command: NvmeCommand, expected: bool) -> None:
    assert repeatable(command) is expected


@pytest.mark.parametrize(
    ("completion", "delay_s"),
    [
        (Completion(StatusCode.NAMESPACE_NOT_READY), 0.1),
        (Completion(StatusCode.NAMESPACE_NOT_READY, dnr=True), None),
        (Completion(StatusCode.COMMAND_INTERRUPTED, retry_delay=1), 3.0),
        (Completion(StatusCode.TRANSIENT_TRANSPORT_ERROR, retry_delay=3), 5.0),
        (Completion(StatusCode.INTERNAL_ERROR), None),
        (Completion(StatusCode.SUCCESS), None),
    ],
)
def test_retry_delay(completion: Completion, delay_s: float | None) -> None:
    assert retry_delay_s(NvmeCommand(Opcode.READ), completion, (3.0, 4.0, 5.0)) == delay_s


@pytest.mark.parametrize("fuse", [Fuse.FIRST, Fuse.SECOND])
@pytest.mark.parametrize(
    ("status", "delay_s"),
    [
        (StatusCode.NAMESPACE_NOT_READY, 0.1),
        (StatusCode.COMMAND_INTERRUPTED, None),
        (StatusCode.TRANSIENT_TRANSPORT_ERROR, None),
    ],
)
def test_a_pair_that_may_be_done_is_not_tried_again(
    fuse: Fuse, status: StatusCode, delay_s: float | None
) -> None:
    command = NvmeCommand(Opcode.COMPARE, fuse=fuse)
    assert retry_delay_s(command, Completion(status), ()) == delay_s


def test_a_delay_that_the_controller_was_not_told_to_give() -> None:
    completion = Completion(StatusCode.COMMAND_INTERRUPTED, retry_delay=2)
    assert retry_delay_s(NvmeCommand(Opcode.READ), completion, ()) == 0.1
