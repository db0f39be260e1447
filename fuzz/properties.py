"""The properties that the tables and both translations must have: one row each."""

from __future__ import annotations

from collections.abc import Iterator

from scsi2nvme import commands
from scsi2nvme.command import Command, Data, Hot, Transfer
from scsi2nvme.commands.inquiry import STANDARD_DATA
from scsi2nvme.fuzz import (
    blocks,
    bring_up,
    layouts,
    login,
    native,
    outcomes,
    prp,
    saved_state,
    statuses,
    strategies,
    tuples,
)
from scsi2nvme.fuzz.finding import Property

_BLOCK_COMMANDS = frozenset(
    {"Read", "Write", "Compare", "Verify", "Write Zeroes", "Dataset Management"}
)


def every_row() -> tuple[Command, ...]:
    """Return the command table."""
    return commands.COMMANDS


def _with_reserved_bits() -> Iterator[Command]:
    return (row for row in commands.COMMANDS if strategies.reserved_bits(row))


def _of_blocks() -> Iterator[Command]:
    """Return what becomes commands of blocks by its translation; a copy's pieces are not."""
    whole = Transfer.FORMAT_HEADER  # a format's pattern is of all blocks, whatever it names
    rows = (row for row in commands.COMMANDS if not row.third_party and row.transfer is not whole)
    return (row for row in rows if not _BLOCK_COMMANDS.isdisjoint(row.nvme))


def _with_allocation_length() -> Iterator[Command]:
    for row in commands.COMMANDS:
        if row.data is Data.IN and row.length_field == "allocation_length":
            yield row


def _hot() -> Iterator[Command]:
    return (row for row in commands.COMMANDS if row.hot is not Hot.NO)


PROPERTIES = (
    Property("CDB comes back", every_row, layouts.cdb_comes_back),
    Property("CDB is typical", every_row, layouts.cdb_is_typical),
    Property("structure comes back", layouts.structures, layouts.structure_comes_back),
    Property("mode page comes back", layouts.mode_pages_of_table, layouts.mode_page_comes_back),
    Property("VPD page is whole", layouts.vpd_pages_of_table, layouts.vpd_page_is_whole),
    Property("log page is whole", layouts.log_pages_of_table, layouts.log_page_is_whole),
    Property("INQUIRY data are whole", lambda: (STANDARD_DATA,), layouts.standard_inquiry),
    Property("one legal outcome", every_row, outcomes.one_legal_outcome),
    Property("reserved bits", _with_reserved_bits, outcomes.reserved_bits),
    Property("NACA", every_row, outcomes.naca),
    Property("truncated CDB", every_row, outcomes.truncated_cdb),
    Property("wrong logical unit", every_row, outcomes.wrong_logical_unit),
    Property("allocation length", _with_allocation_length, outcomes.allocation_length),
    Property("status to sense", statuses.failures, statuses.status_becomes_sense),
    Property("within limits", every_row, blocks.within_limits),
    Property("blocks add up", _of_blocks, blocks.add_up),
    Property("PRP rules", lambda: (prp.Entry(),), prp.prp_rules),
    Property("native agrees", every_row, native.agrees),
    Property("native takes", _hot, native.takes),
    Property("tuples are checked", tuples.rows, tuples.are_checked),
    Property("bring-up is safe", lambda: bring_up.SUBJECTS, bring_up.bring_up_is_safe),
    Property("state is kept", lambda: saved_state.SUBJECTS, saved_state.state_is_kept),
    Property("login is safe", lambda: (login.LOGIN,), login.login_is_safe),
    Property("text is safe", lambda: (login.TEXT,), login.text_is_safe),
)
