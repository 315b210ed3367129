"""How a measured number reads: with its sign and unit, or not at all.

What was not measured is never a zero and never a blank: it reads "unmeasured here".
"""

from typing import Final

UNMEASURED_TEXT: Final = "unmeasured here"


def number_text(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """Return ``value`` with ``digits`` decimals, or that it is unmeasured."""
    if value is None:
        return UNMEASURED_TEXT
    return _signed(value, digits) if signed else f"{value:.{digits}f}"


def percent_text(share: float | None, digits: int = 0) -> str:
    """Return a share in [0, 1] as per cent.

    Only a full share reads "100 %" and only none "0 %": 299 of 300 read
    ">99 %", because a rounded-up 100 would claim what was not measured.
    """
    if share is None:
        return UNMEASURED_TEXT
    step = 10.0**-digits
    percent = round(share * 100, digits)
    if 0 < share < 1 and percent in (0, 100):
        return f"<{step:.{digits}f} %" if percent == 0 else f">{100 - step:.{digits}f} %"
    return f"{percent:.{digits}f} %"


def bytes_text(size_bytes: int | None) -> str:
    """Return a size in the largest binary unit that leaves a number of at least one."""
    if size_bytes is None:
        return UNMEASURED_TEXT
    size, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:  # noqa: PLR2004 - binary units
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _signed(value: float, digits: int = 3) -> str:
    text = f"{value:+.{digits}f}"
    return text.replace("-", "+") if float(text) == 0 else text  # no "-0.000"
