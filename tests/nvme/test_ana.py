"""Asymmetric namespace access, as its log tells of it. Spec: NVMe Base 2.0c 5.16.1.13."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.nvme.ana import ANA_GROUP, ANA_HEADER, AnaState, group_states, log_bytes
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER

NSIDS = bytes(12)
LOG = (
    ANA_HEADER.build(ngrps=3)
    + ANA_GROUP.build(grpid=1, nnsids=3, state=2)
    + NSIDS
    + ANA_GROUP.build(grpid=7, state=0xF)
    + ANA_GROUP.build(grpid=9, state=5)
)


def test_states_of_groups() -> None:
    assert group_states(LOG) == {1: AnaState.NON_OPTIMIZED, 7: AnaState.CHANGE}


@pytest.mark.parametrize(("length", "groups"), [(0, 0), (15, 0), (47, 0), (48, 1), (91, 1)])
def test_a_log_that_is_cut_tells_of_what_is_there(length: int, groups: int) -> None:
    assert len(group_states(LOG[:length])) == groups


@given(st.binary(max_size=200))
def test_no_log_is_trusted(raw: bytes) -> None:
    group_states(raw)


def test_what_is_read_is_bounded() -> None:
    controller = IDENTIFY_CONTROLLER.parse(IDENTIFY_CONTROLLER.build(nanagrpid=0xFFFFFFFF))
    assert log_bytes(controller) == 16 + 32 * 1024
