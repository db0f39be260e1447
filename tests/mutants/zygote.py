"""A pytest that has imported and collected all, and forks for each mutant of functions.

A pytest plugin. A line of JSON on the standard input is a mutant: `path` and `source` of the
module, `first`, the tests to begin with, `only` if no others are to be run, and `limit_s`. The
answer is a line on the descriptor REPLY of the environment: the first test that fails, "time",
"" if none does, or "import" if the change is in what importing modules does, also by a function.

Before the first, all tests are run once, to know who calls which function: a mutant is judged by
these.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

REPLY = "MUTANTS_REPLY"
_END = "="
_OPTIMIZED = 0x1  # functions have it, modules and class bodies do not


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Judge mutants instead of running tests."""
    sys.setprofile(None)
    callers = _in_fork(lambda: scout(session.items, _run_one))
    with os.fdopen(int(os.environ[REPLY]), "w") as reply:
        for line in sys.stdin:
            reply.write(_judge(session, json.loads(line), callers) + "\n")
            reply.flush()
    return True


def _run_one(item: pytest.Item, following: pytest.Item | None) -> bool:
    """Run a test; True if it fails."""
    return any(each.failed for each in runtestprotocol(item, log=False, nextitem=following))


Callers = dict[str, set[str]]
"""By function: the tests that call it; modules of tests if what they set up does."""


def scout(
    items: Sequence[pytest.Item], run: Callable[[pytest.Item, pytest.Item | None], object]
) -> Callers:
    """Run tests and return who calls which function of the checkout."""
    callers: Callers = {}
    by_code: dict[CodeType, set[str]] = {}
    module = ""

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            by_code.setdefault(frame.f_code, set()).add(_OWNER[0])

    threading.setprofile(note)
    for item, following in zip(items, [*items[1:], None], strict=True):
        # What is set up for a module is by the first of its tests, for all of them.
        before, module = module, item.nodeid.split("::")[0]
        _OWNER[0] = item.nodeid if module == before else module
        sys.setprofile(note)
        run(item, following)
        sys.setprofile(None)
    threading.setprofile(None)
    for code, tests in by_code.items():
        callers.setdefault(_function(code), set()).update(tests)
    return callers


_OWNER = [""]  # of what is called now
_IMPORTED: set[str] = set()  # functions that importing has called: what they made stays as it is


def _note_import(frame: FrameType, event: str, _: object) -> None:
    if event == "call":
        _IMPORTED.add(_function(frame.f_code))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """What is called from now on is this test's own."""
    _OWNER[0] = item.nodeid


@functools.cache
def _place(path: str) -> str:
    return os.path.realpath(path)


def _function(code: CodeType) -> str:
    return f"{_place(code.co_filename)}:{code.co_qualname}"


def _in_fork(call: Callable[[], Callers]) -> Callers:
    """Return what a fork returns, of which nothing else is left."""
    begun, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            found = {name: sorted(tests) for name, tests in call().items()}
            with os.fdopen(told, "w") as file:
                json.dump(found, file)
        finally:
            os._exit(0)
    os.close(told)
    with os.fdopen(begun) as file:
        text = file.read()
    os.waitpid(child, 0)
    return {name: set(tests) for name, tests in json.loads(text).items()}


def _judge(session: pytest.Session, request: dict[str, Any], callers: Callers) -> str:
    path = Path(request["path"]).resolve()
    found = changes(path, request["source"])
    if found is None:
        return "import"
    first: dict[str, int] = {name: at for at, name in enumerate(request["first"])}
    concerned = set[str]().union(*(callers.get(_function(each), ()) for _, each in found))
    items = [
        item
        for item in session.items
        if (item.nodeid in first if request["only"] else _is_of(item.nodeid, concerned))
    ]
    items.sort(key=lambda item: _rank(item.nodeid, first))
    begun, told = os.pipe()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        _run(items, found, told)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(child, child)
    os.close(told)
    try:
        noticed = _listen(begun, time.monotonic() + request["limit_s"])
        called = any(_function(each) in _IMPORTED for _, each in found)
        return noticed or ("import" if called and not request["only"] else "")
    finally:
        os.close(begun)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _is_of(name: str, tests: set[str]) -> bool:
    return name in tests or name.split("::")[0] in tests


def _rank(name: str, first: dict[str, int]) -> int:
    return min(first.get(name, len(first)), first.get(name.split("::")[0], len(first)))


def _run(items: list[pytest.Item], found: list[tuple[FunctionType, CodeType]], told: int) -> None:
    """Change functions, run tests until one fails, and tell of each; in the child."""
    try:
        for function, code in found:
            function.__code__ = code
        for item, following in zip(items, [*items[1:], None], strict=True):
            os.write(told, f"{item.nodeid}\n".encode())
            if _run_one(item, following):
                os.write(told, f"{_END}{item.nodeid}\n".encode())
                os._exit(0)
        os.write(told, f"{_END}\n".encode())
    finally:
        os._exit(0)


def _listen(begun: int, end: float) -> str:
    """Return the test that failed, or the last one before the child was gone."""
    text = ""
    while (left := end - time.monotonic()) > 0:
        if select.select([begun], [], [], left)[0]:
            some = os.read(begun, 1 << 16).decode()
            text += some
            last = text.removesuffix("\n").split("\n")[-1]
            if not some or (last.startswith(_END) and text.endswith("\n")):
                return last.removeprefix(_END)
    return "time"


def changes(path: Path, source: str) -> list[tuple[FunctionType, CodeType]] | None:
    """Return which functions have which code then; None if importing does something else."""
    before, after = (
        list(_codes(compile(text, str(path), "exec", dont_inherit=True)))
        for text in (path.read_text(), source)
    )
    if len(before) != len(after):
        return None
    changed: dict[CodeType, CodeType] = {}
    for old, new in zip(before, after, strict=True):
        if old.co_flags & _OPTIMIZED:
            changed |= {old: new} if old != new else {}
        elif _own(old) != _own(new):
            return None
    if any(len(old.co_freevars) != len(new.co_freevars) for old, new in changed.items()):
        return None
    gc.unfreeze()  # what is frozen is not among the objects
    found = [
        (each, changed[each.__code__])
        for each in gc.get_objects()
        if isinstance(each, FunctionType)
        and each.__code__.co_filename == str(path)
        and each.__code__ in changed
    ]
    gc.freeze()
    return found if found or not changed else None


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _own(code: CodeType) -> tuple[object, ...]:
    """Return what a code does but for what the functions in it do."""
    constants = [repr(each) for each in code.co_consts if not isinstance(each, CodeType)]
    return code.co_code, code.co_names, constants


if REPLY in os.environ:
    sys.setprofile(_note_import)
