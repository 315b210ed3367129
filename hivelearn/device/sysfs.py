"""Files of sysfs as text and numbers: absent, forbidden and silent ones are nothing."""

from pathlib import Path


def text(path: Path) -> str:
    """Return what a file says, or nothing."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # absent, forbidden, or a driver that says EIO or ENODATA
        return ""


def number(path: Path) -> float | None:
    """Return the number that a file holds, or None."""
    return to_float(text(path))


def to_float(said: str) -> float | None:
    """Return text as a number, or None."""
    try:
        return float(said)
    except ValueError:
        return None


def paths(root: Path, pattern: str) -> list[Path]:
    """Return what matches ``pattern`` below ``root``, sorted."""
    try:
        return sorted(root.glob(pattern))
    except OSError:  # Android forbids to list many of these folders
        return []
