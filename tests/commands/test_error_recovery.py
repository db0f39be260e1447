"""Mode page 01h, part of which is Error Recovery, a feature of the namespace."""

from __future__ import annotations

from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.mode_pages.error_recovery import READ_WRITE_ERROR_RECOVERY
from scsi2nvme.unit.mode_pages.page import PageControl
from tests.commands.test_mode import changed, page, refused_in_list, select
from tests.support import make_bench

TLER = 0x05  # feature identifier


def test_the_time_for_recovery_is_a_feature_of_the_namespace() -> None:
    bench = make_bench()
    bench.model.features[TLER] = 1 << 16 | 5  # DULBE is nobody's here
    assert page(bench, READ_WRITE_ERROR_RECOVERY).recovery_time_limit == 500
    wanted = changed(bench, READ_WRITE_ERROR_RECOVERY, recovery_time_limit=12_300)
    assert select(bench, wanted).status is Status.GOOD
    assert bench.model.features[TLER] == 1 << 16 | 123
    (command,) = [c for c in bench.model.executed if c.opcode == AdminOpcode.SET_FEATURES]
    assert command.nsid == bench.lu.nsid
    bench.model.features[TLER] = 0xFFFF
    assert page(bench, READ_WRITE_ERROR_RECOVERY).recovery_time_limit == 65_500


def test_a_time_that_the_controller_cannot_keep_is_refused() -> None:
    bench = make_bench()
    wanted = changed(bench, READ_WRITE_ERROR_RECOVERY, recovery_time_limit=150)
    assert refused_in_list(select(bench, wanted), 8 + 10, 7)


def test_a_controller_without_error_recovery_has_a_page_all_the_same() -> None:
    bench = make_bench()
    del bench.model.features[TLER]
    assert page(bench, READ_WRITE_ERROR_RECOVERY).recovery_time_limit == 0
    mask = page(bench, READ_WRITE_ERROR_RECOVERY, PageControl.CHANGEABLE)
    assert (mask.recovery_time_limit, mask.per) == (0, 1)
    wanted = changed(bench, READ_WRITE_ERROR_RECOVERY, per=1)
    assert select(bench, wanted).status is Status.GOOD
