"""To play a story of SCSI commands, and find what comes otherwise than it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scsi2nvme.nvme.command import NvmeCommand
from scsi2nvme.scsi.status import Status
from tests.commands.vectors import Step
from tests.support import Bench


def shown(command: NvmeCommand) -> str:
    """Return a command as vectors write it."""
    dwords = {f"cdw{n}": getattr(command, f"cdw{n}") for n in range(10, 16)}
    words = [f"{command.opcode:02X}", f"nsid={command.nsid:X}"]
    words += [f"{name}={value:X}" for name, value in dwords.items() if value]
    out = command.data_out
    if out:
        same = len(set(out)) == 1
        words.append(f"out={out[0]:02X}*{len(out)}" if same else f"out={out.hex()}")
    return " ".join(["admin", *words] if command.admin else words)


def differences(bench: Bench, steps: Iterable[Step], *, below: bool = True) -> Iterator[str]:
    """Play steps in order; yield what comes otherwise than they say, with `below` of NVMe too."""
    for number, step in enumerate(steps):
        bench.model.executed.clear()
        nexus = bench.nexus if step.nexus == "a" else bench.other(step.nexus)
        result = bench.run(bytes.fromhex(step.cdb), step.out, nexus=nexus)
        code = result.sense and result.sense.code
        found = (
            result.status,
            (int(code.key), code.asc, code.ascq) if code else None,
            tuple(shown(each) for each in bench.model.executed) if below else (),
            result.data_in.hex(),
        )
        status = Status.CHECK_CONDITION if step.sense else step.status
        wanted = (status, step.sense, step.nvme, step.data.hex())
        if found != wanted:
            yield f"{number}: {step.cdb}: {found} is not {wanted}"
