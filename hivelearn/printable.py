"""What strangers wrote, in a message: short, and obeyed by no terminal."""

import reprlib
import unicodedata
from typing import Final

LONGEST: Final = 2_000  # characters of a message
_CONTROL: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    """Show control characters instead of obeying them."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\x{ord(char):02x}" if unicodedata.category(char) in _CONTROL else char for char in text
    )


def message(text: str) -> str:
    """Return ``text`` as a message may be: one line, not endless, without control characters."""
    return printable(text if len(text) <= LONGEST else f"{text[:LONGEST]} …")


def shown(value: object) -> str:
    """Return ``value`` for a message: short, and without looking into what holds others."""
    if isinstance(value, str | int | float | None):
        try:
            return reprlib.repr(value)
        except ValueError:  # Python prints no whole number of more than 4300 digits
            return "a huge number"
    return f"a {type(value).__name__}"
