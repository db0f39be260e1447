"""In which order a task may run. Spec: RFC 7143 11.3.1.1."""

from __future__ import annotations

from enum import IntEnum


class TaskAttribute(IntEnum):
    """A task attribute, by its code in iSCSI."""

    UNTAGGED = 0
    SIMPLE = 1
    ORDERED = 2
    HEAD_OF_QUEUE = 3
    ACA = 4
