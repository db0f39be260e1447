"""What may be shown to people: nothing that moves a terminal's cursor, or does worse to it."""

from __future__ import annotations


def printable(text: str, but: str = "") -> str:
    """Return text with escapes (`\\x1b`) for what is not printable, except the characters `but`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in but else f"\\x{ord(one):02x}" for one in text)
