"""What a machine forks programs from, as far as that can be seen outside of one."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.system import forks


@pytest.mark.parametrize("name", forks.IMPORTED)
def test_what_is_imported_beforehand_is_there(name: str) -> None:
    import_module(name)
