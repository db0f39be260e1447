"""The conformance suite against LIO with a backstore of ours: what LIO itself answers apart, all
passes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.judgement import PROPERTY, encode, surprise
from tests.system.conformance import OURS, examine
from tests.system.machine import Machine


@pytest.mark.timeout(3400)
def test_nothing_fails_but_where_lio_answers(
    machine: Machine, record_property: Callable[[str, object], None]
) -> None:
    verdicts = examine(machine)[OURS]
    record_property(PROPERTY, encode(OURS, verdicts))
    surprises = [text for verdict in verdicts if (text := surprise(verdict, OURS))]
    assert not surprises, "\n".join(surprises)
