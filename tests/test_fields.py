"""The field language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.fields import ByteOrder, Field, FieldError, Structure

orders: st.SearchStrategy[ByteOrder] = st.sampled_from(("big", "little"))
placed = st.builds(Field, st.just("x"), st.integers(0, 8), st.integers(0, 7), st.integers(1, 64))


def bits_of(field: Field, order: ByteOrder) -> list[tuple[int, int]]:
    """Return (byte, bit) of each of the field's bits, least significant first."""
    top = field.end - 1
    return [
        (field.byte + place // 8 if order == "little" else top - place // 8, place % 8)
        for place in range(field.bit, field.bit + field.width)
    ]


@given(placed, orders, st.data())
def test_a_field_is_its_bits(field: Field, order: ByteOrder, data: st.DataObject) -> None:
    """Held against a model that moves one bit at a time."""
    before = data.draw(st.binary(min_size=field.end, max_size=field.end + 3))
    value = data.draw(st.integers(0, field.maximum))
    expected = bytearray(before)
    for index, (byte, bit) in enumerate(bits_of(field, order)):
        expected[byte] = expected[byte] & ~(1 << bit) | (value >> index & 1) << bit
    after = bytearray(before)
    field.write(after, value, order)
    assert after == expected
    assert field.read(after, order) == value
    assert field.highest_bit(order) == bits_of(field, order)[-1]
    mask = field.mask(len(before), order)
    assert sum(bin(byte).count("1") for byte in mask) == field.width
    assert all(mask[byte] >> bit & 1 for byte, bit in bits_of(field, order))


@given(placed, orders)
def test_what_does_not_fit_is_refused(field: Field, order: ByteOrder) -> None:
    buffer = bytearray(field.end)
    for value in (-1, field.maximum + 1):
        with pytest.raises(FieldError, match="x"):
            field.write(buffer, value, order)
    assert buffer == bytes(field.end)
    with pytest.raises(FieldError, match="buffer has"):
        field.write(bytearray(field.end - 1), 0, order)


def test_standards_examples() -> None:
    lba = Field("lba", 2, 0, 32)
    assert lba.read(bytes.fromhex("2800 12345678 00"), "big") == 0x12345678
    assert lba.highest_bit("big") == (2, 7)
    lba6 = Field("lba", 1, 0, 21)
    assert lba6.read(bytes.fromhex("08 ff2345 0100"), "big") == 0x1F2345
    assert lba6.highest_bit("big") == (1, 4)
    status = Field("sf", 12, 1, 15)
    assert status.read(bytes(12) + b"\x05\x01", "little") == 0x82
    assert status.highest_bit("little") == (13, 7)


PAIR = Structure(
    "Pair",
    6,
    (Field("left", 0, 0, 16), Field("flag", 2, 7, 1), Field("name", 3, 0, 24)),
    spec="here",
)


def test_parse_and_build() -> None:
    raw = PAIR.build(left=0x1234, flag=1, name=b"ab")
    assert raw == b"\x12\x34\x80ab\0"
    values = PAIR.parse(raw + b"more")
    assert values.raw == raw
    assert (values.left, values["flag"], values.text("name")) == (0x1234, 1, "ab")
    assert values.bytes("name") == b"ab\0"
    assert dict(values) == {"left": 0x1234, "flag": 1, "name": 0x616200}
    assert len(values) == 3
    assert "missing" not in values
    assert repr(values) == "Pair(left=0x1234, flag=0x1, name=0x616200)"
    assert PAIR.mask == b"\xff\xff\x80\xff\xff\xff"


def test_write_leaves_the_rest() -> None:
    buffer = bytearray(b"\xff" * 6)
    PAIR.write(buffer, flag=0, name=b"")
    assert buffer == b"\xff\xff\x7f\0\0\0"


def test_unknown_names() -> None:
    values = PAIR.parse(bytes(6))
    with pytest.raises(AttributeError, match="Pair has no field 'missing'"):
        _ = values.missing
    with pytest.raises(KeyError):
        _ = values["missing"]
    with pytest.raises(FieldError, match="missing"):
        PAIR.build(missing=1)


def test_wrong_sizes() -> None:
    with pytest.raises(FieldError, match="got 5"):
        PAIR.parse(bytes(5))
    with pytest.raises(FieldError, match="do not fit"):
        PAIR.build(name=b"abcd")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ((Field("a", 0, 0, 8), Field("b", 0, 7, 1)), "overlaps"),
        ((Field("a", 1, 0, 16),), "ends beyond"),
        ((Field("a", 1, 0, 0),), "has no bits"),
        ((Field("a", 0, 0, 4), Field("a", 1, 0, 4)), "twice"),
    ],
)
def test_declarations_that_cannot_be(fields: tuple[Field, ...], complaint: str) -> None:
    with pytest.raises(FieldError, match=complaint):
        Structure("Wrong", 2, fields)


@given(orders, st.binary(min_size=12, max_size=12))
def test_any_bytes_survive_a_structure_that_covers_them(order: ByteOrder, raw: bytes) -> None:
    whole = Structure(
        "Whole",
        12,
        (
            Field("a", 0, 0, 3),
            Field("b", 0, 3, 5),
            Field("c", 1, 0, 24),
            Field("d", 4, 0, 64),
        ),
        order,
    )
    assert whole.build(**whole.parse(raw)) == raw
