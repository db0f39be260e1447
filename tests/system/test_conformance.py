"""The conformance suite against LIO with a backstore of ours: what LIO itself answers apart, all
passes. LIO's own block backstore is judged beside, to be shown.
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
    found = examine(machine)
    for configuration, verdicts in found.items():
        record_property(PROPERTY, encode(configuration, verdicts))
    surprises = [text for verdict in found[OURS] if (text := surprise(verdict, OURS))]
    assert not surprises, "\n".join(surprises)
