"""UUIDs are those of the standard library."""

from __future__ import annotations

import uuid

import pytest

from scsi2nvme.uuids import as_text, named_uuid, random_uuid


@pytest.mark.parametrize("name", ["", "a", "f1/2", "serial/1/3", "é"])
def test_a_name_has_the_same(name: str) -> None:
    made = named_uuid(uuid.NAMESPACE_URL.bytes, name)
    assert made == uuid.uuid5(uuid.NAMESPACE_URL, name).bytes
    assert as_text(made) == str(uuid.UUID(bytes=made))


def test_random_ones_are_of_version_4_and_differ() -> None:
    made = [uuid.UUID(bytes=random_uuid()) for _ in range(64)]
    assert {(each.version, each.variant) for each in made} == {(4, uuid.RFC_4122)}
    assert len(set(made)) == len(made)
