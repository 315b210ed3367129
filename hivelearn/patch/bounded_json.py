"""JSON from a stranger: how much there is of it is known before it is parsed.

Python parses a megabyte of empty lists in a tenth of a second and keeps eighty megabytes
for it. Brackets and commas are counted first, which takes a thousandth of that. What stands
in a text is counted, too: a limit leaves room for it.
"""

import json
from collections.abc import Callable
from typing import Any


class CrowdedError(ValueError):
    """It holds more things than it may."""


def parsed(
    raw: bytes,
    *,
    objects_max: int,
    items_max: int,
    pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Return what the UTF-8 text ``raw`` holds.

    Args:
        raw: of a bounded length.
        objects_max: lists and mappings, one in another counted alike.
        items_max: what stands in them.
        pairs_hook: as for ``json.loads``.

    Raises:
        CrowdedError: more than that; nothing was parsed.
        ValueError: no JSON, or nested too deeply.
    """
    objects = raw.count(b"{") + raw.count(b"[")
    if objects > objects_max:
        raise CrowdedError(f"{objects} lists and mappings, and {objects_max} are allowed")
    items = raw.count(b",")
    if items > items_max:
        raise CrowdedError(f"{items} items, and {items_max} are allowed")
    try:
        # Decoded here, for json.loads takes bytes of UTF-16 and UTF-32 too.
        return json.loads(raw.decode(), object_pairs_hook=pairs_hook)
    except RecursionError:
        raise ValueError("nested too deeply") from None
