"""Our dataclasses are what the standard library's are."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from scsi2nvme import records

ROOT = Path(__file__).parent.parent
# What these are needed for comes before records, or without it.
STANDARD = {"scsi2nvme/fields.py", "scsi2nvme/kernel_module.py"}
T = TypeVar("T")
Make = Callable[..., Any]
BOTH = pytest.mark.parametrize("make", [records.dataclass, dataclasses.dataclass])


@records.dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2


def classes(make: Make) -> list[type]:
    """Classes of all the kinds that there are, as `make` makes them."""

    @make(frozen=True, slots=True)
    class Frozen(Generic[T]):
        """Of each sort of field."""

        first: T
        second: int = 5
        third: list[int] = field(default_factory=list)
        secret: str = field(default="s", repr=False)
        aside: int = field(default=1, compare=False)

    @make(frozen=True)
    class Base:
        a: int = 1

    @make(frozen=True)
    class Derived(Base):
        b: int = 2

    @make(eq=False, kw_only=True)
    class Named:
        a: int
        b: str = "b"

    @make
    class Plain:
        a: int
        kept: int = field(init=False, default=7)

        def __post_init__(self) -> None:
            self.a += 1

    @make(slots=True)
    class Nothing:
        pass

    return [Frozen, Base, Derived, Named, Plain, Nothing]


OURS, THEIRS = classes(records.dataclass), classes(dataclasses.dataclass)
PAIRS = list(zip(OURS, THEIRS, strict=True))


def named(kind: type, number: int) -> Any:
    """Return an object whose fields that have to be given are this number."""
    needed = [
        each.name
        for each in dataclasses.fields(kind)
        if each.init and each.default is dataclasses.MISSING and not callable(each.default_factory)
    ]
    return kind(**dict.fromkeys(needed, number))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda kind: kind.__name__)
def test_they_look_alike(ours: type, theirs: type) -> None:
    one, other = named(ours, 3), named(theirs, 3)
    assert repr(one) == repr(other)
    assert dataclasses.asdict(one) == dataclasses.asdict(other)
    assert [str(each) for each in dataclasses.fields(ours)] == [
        str(each) for each in dataclasses.fields(theirs)
    ]
    assert vars(ours)["__match_args__"] == vars(theirs)["__match_args__"]
    assert hasattr(one, "__dict__") is hasattr(other, "__dict__")
    kinds = [
        [(each.name, each.kind) for each in inspect.signature(kind).parameters.values()]
        for kind in (ours, theirs)
    ]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda kind: kind.__name__)
def test_they_compare_alike(ours: type, theirs: type) -> None:
    for kind in (ours, theirs):
        assert named(kind, 3) != object()
    assert (named(ours, 3) == named(ours, 3)) is (named(theirs, 3) == named(theirs, 3))
    assert (named(ours, 3) == named(ours, 4)) is (named(theirs, 3) == named(theirs, 4))
    assert (ours.__hash__ is None) is (theirs.__hash__ is None)


@BOTH
def test_what_is_aside_is_not_compared(make: Make) -> None:
    frozen = classes(make)[0]
    assert frozen(1, third=(), aside=1) == frozen(1, third=(), aside=2)
    assert hash(frozen(1, third=(), aside=1)) == hash(frozen(1, third=(), aside=2))
    assert frozen(1, secret="a") != frozen(1, secret="b")
    assert frozen(1).third is not frozen(1).third


@BOTH
def test_a_class_that_derives_is_another(make: Make) -> None:
    _, base, derived, *_ = classes(make)
    assert base(1) != derived(1)
    assert derived(1, 3).b == 3


@BOTH
def test_who_is_frozen_stays_so(make: Make) -> None:
    for kind in classes(make)[:3]:
        it = named(kind, 1)
        name = dataclasses.fields(kind)[0].name
        with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(it, name, 2)
        with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
            delattr(it, name)


@BOTH
def test_what_a_class_has_itself_is_kept(make: Make) -> None:
    @make(frozen=True)
    class Own:
        a: int

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "own"

    one, two = named(Own, 1), named(Own, 2)
    assert one == two
    assert hash(one) == 7
    assert repr(one) == "own"


@BOTH
def test_an_own_comparison_does_not_take_the_hash(make: Make) -> None:
    @make(frozen=True)
    class Own:
        a: int

        def __eq__(self, other: object) -> bool:
            return True

    assert hash(named(Own, 1)) == hash(named(Own, 1))


@BOTH
def test_a_field_may_have_any_name(make: Make) -> None:
    """Of the first objects as well, which are made without compiling anything."""

    @make(frozen=True, slots=True)
    class Named:
        instance: int
        values: int = 2
        named: int = 3

    create: Any = Named
    it = create(instance=1, named=4)
    assert (it.instance, it.values, it.named) == (1, 2, 4)


@BOTH
def test_a_subclass_may_add_what_is_not_frozen(make: Make) -> None:
    class More(classes(make)[1]):  # type: ignore[misc]
        pass

    it = More(1)
    it.more = 2
    assert it.more == 2
    with pytest.raises(FrozenInstanceError):
        it.a = 2


def test_it_is_copied_pickled_and_replaced() -> None:
    point = Point(1)
    for other in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        assert other == point
    assert replace(point, y=9) == Point(1, 9)


def test_one_that_holds_itself_can_be_shown() -> None:
    plain: Any = OURS[4](1)
    plain.a = plain
    assert "..." in repr(plain)


@pytest.mark.parametrize(
    ("values", "named", "told"),
    [
        ((), {}, "missing 1 required positional argument: 'x'"),
        ((1,), {"z": 2}, "unexpected keyword argument 'z'"),
        ((1,), {"x": 2}, "multiple values for argument 'x'"),
        ((1, 2, 3), {}, "takes from 2 to 3 positional arguments but 4 were given"),
        ((1, 2), {"kept": 3}, "unexpected keyword argument 'kept'"),
    ],
)
def test_what_is_missing_or_too_much_is_told(
    values: tuple[int, ...], named: dict[str, int], told: str
) -> None:
    @records.dataclass(frozen=True)
    class Fresh:
        x: int
        y: int = 2
        kept: int = field(init=False, default=7)

    make: Any = Fresh
    for _ in range(2):  # as long as nothing is compiled, and then
        with pytest.raises(TypeError, match=re.escape(told)):
            make(*values, **named)
    assert make(1) == make(x=1, y=2)


def test_what_makes_objects_is_compiled_once_and_not_before_some_were_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled, compile_it = [], records._compiled

    def count(made: type, *rest: Any) -> Any:
        compiled.append(made)
        return compile_it(made, *rest)

    monkeypatch.setattr(records, "_compiled", count)
    _, base, derived, *_ = classes(records.dataclass)
    for number in range(records.FEW):
        assert derived(number, b=2) == derived(a=number)
    assert compiled == [derived]
    assert derived(1, 2) == derived(1)
    assert compiled == [derived]
    assert list(inspect.signature(base).parameters) == ["a"]
    assert base(5).a == 5
    assert compiled == [derived, base]


def test_what_all_objects_would_share_is_no_default() -> None:
    with pytest.raises(ValueError, match=r"Shared.a: all objects would share \[\]"):

        @records.dataclass
        class Shared:
            a: list[int] = []  # noqa: RUF012


def test_a_class_without_a_docstring_has_its_name_for_one() -> None:
    assert [kind.__doc__ for kind in OURS[:2]] == ["Of each sort of field.", "Base"]


def test_the_program_has_no_others() -> None:
    """One that is made by the standard library costs the start several times as much."""
    standard = re.compile(
        r"^from dataclasses import .*\bdataclass\b|\bdataclasses\.dataclass\b", re.M
    )
    modules = [
        path for room in ("scsi2nvme", "target", "drivers") for path in (ROOT / room).rglob("*.py")
    ]
    found = {str(path.relative_to(ROOT)) for path in modules if standard.search(path.read_text())}
    assert found == STANDARD
