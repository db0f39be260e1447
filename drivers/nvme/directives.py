"""Streams, where a controller has them: enabled, for a reset disables them.

Spec: NVMe Base 2.0c 8.7.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from scsi2nvme.fields import Values
from scsi2nvme.nvme.ana import ACCESSIBLE
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.directives import (
    IDENTIFY_PARAMETERS,
    OACS_DIRECTIVES,
    STREAMS_PARAMETERS,
    DirectiveType,
    Receive,
    Streams,
    enable,
    receive,
)
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.status import describe

_log = logging.getLogger(__name__)

Execute = Callable[[NvmeCommand], Awaitable[Completion]]
_BIT = 1 << DirectiveType.STREAMS


async def _streams(execute: Execute, nsid: int) -> Streams | None:
    """Enable the streams of a namespace, unless they are; None if it has none that can be used."""
    size = IDENTIFY_PARAMETERS.size
    completion = await execute(receive(DirectiveType.IDENTIFY, Receive.PARAMETERS, nsid, size))
    if completion.status:
        return None
    directives = IDENTIFY_PARAMETERS.parse(completion.data)
    if not directives.supported & _BIT:
        return None
    if not directives.enabled & _BIT:
        completion = await execute(enable(DirectiveType.STREAMS, nsid))
    if not completion.status:
        size = STREAMS_PARAMETERS.size
        completion = await execute(receive(DirectiveType.STREAMS, Receive.PARAMETERS, nsid, size))
    if completion.status:
        _log.warning("namespace %d: no streams: %s", nsid, describe(completion.status))
        return None
    told = STREAMS_PARAMETERS.parse(completion.data)
    count = told.nsa or told.nssa
    return Streams(count, told.sws, told.sgs) if count else None


async def with_streams(
    execute: Execute, controller: Values, namespaces: Mapping[int, NamespaceFacts]
) -> dict[int, NamespaceFacts]:
    """Return the namespaces with their streams; of those out of reach, what is known of them."""
    if not controller.oacs >> OACS_DIRECTIVES & 1:
        return dict(namespaces)
    found = {}
    for nsid, facts in namespaces.items():
        if facts.ana_state in ACCESSIBLE:
            facts = replace(facts, streams=await _streams(execute, nsid))
        found[nsid] = facts
    return found
