"""Nexuses of the plane."""

from __future__ import annotations

import pytest

from scsi2nvme.native.plane import Plane, PlaneController, PlaneNexus, PlaneUnit
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.nvme.namespace import Zones
from scsi2nvme.unit.block_device import BlockDevice
from tests.support import make_facts


def test_a_lun_beyond_flat_space_is_refused() -> None:
    plane = Plane([-1])
    controller = PlaneController(plane, 1)
    unit = PlaneUnit(controller, UnitParameters(3, 512, 1 << 33, 256, 0, True))
    nexus = PlaneNexus(2)
    nexus.map(16383, unit)
    with pytest.raises(OSError, match="LUN 16384"):
        nexus.map(16384, unit)
    for each in (nexus, unit, controller, plane):
        each.close()


def test_a_zone_of_any_length_can_be_told_of() -> None:
    facts = make_facts(zones=Zones(1 << 40, 1 << 40))
    native = UnitParameters.of(BlockDevice(facts)).native
    assert (native.zone_blocks, native.zone_capacity) == (1 << 40, 1 << 40)
    assert native.boundary_blocks == 0
