"""Every test of the service has the data plane faked."""

from __future__ import annotations

import pytest

from scsi2nvme import service
from scsi2nvme.service import registry, task_management
from tests.service.bench import (
    FakeController,
    FakeNexus,
    FakeUnit,
)


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PlaneController", FakeController)
    monkeypatch.setattr(registry, "PlaneUnit", FakeUnit)
    monkeypatch.setattr(registry, "PlaneNexus", FakeNexus)
    monkeypatch.setattr(task_management, "RESET_SECONDS", 0.05)
