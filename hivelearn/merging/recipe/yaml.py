"""A YAML document that a stranger wrote, read within bounds.

A file of 300 bytes can name a list of lists of lists by aliases that, once
printed or walked, fills the memory; one of 256 KiB can keep a parser busy for
seconds. So its events are counted first, and its size is reckoned with every alias
written out, before it becomes values.
"""

import codecs
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hivelearn.merging.errors import MergeError

if TYPE_CHECKING:
    from yaml import Node

YAML_MAX_BYTES: Final = 1 << 18  # real ones have a few KB
EVENTS_MAX: Final = 10_000  # words, lists and mappings; 256 models with a gradient each have 8,000
_DEPTH_MAX: Final = 32  # lists and mappings, one in another; a filter of a model has 7
_EXPANDED_MAX: Final = 4 * YAML_MAX_BYTES  # a file without aliases stays below half of it
_SCALAR_MAX: Final = 4_096  # characters; a number such as 1:1:1:… of many takes a minute
_PAIRS_MAX: Final = 4_096  # of one mapping; keys may be chosen to collide
_MARKS: Final = (  # the longest first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def document(path: Path) -> Any:
    """Return what the YAML file at ``path`` holds.

    Raises:
        MergeError: not there, too large, or not YAML.
    """
    import yaml

    text = _text(path, _bytes(path))
    try:
        _count(text)
        # Not written in Python where there is a choice: a tenth of the time.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded(node, {}) > _EXPANDED_MAX:
            raise MergeError(
                f"{path} grows beyond all bounds through its aliases",
                remedy="Write it without aliases (*name).",
            )
        return loader.construct_document(node)
    # PyYAML lets the plain errors through for a date such as 2001-99-99, `!!bool x`, `!!int ''`.
    except (
        yaml.YAMLError, RecursionError, ValueError, ArithmeticError, LookupError, AttributeError,
        TypeError,
    ) as error:  # fmt: skip
        first = str(error).splitlines()[0][:200] if str(error) else "nested too deeply"
        raise MergeError(f"{path} is not YAML: {first}", remedy="Mend the file.") from None


def _bytes(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe that nobody writes to
            raise MergeError(f"{path} is no file", remedy="Give the path of a YAML file.")
        with path.open("rb") as file:
            raw = file.read(YAML_MAX_BYTES + 1)
    except OSError as error:
        raise MergeError(
            f"{path} cannot be read: {error.strerror}", remedy="Give the path of a YAML file."
        ) from None
    if len(raw) > YAML_MAX_BYTES:
        raise MergeError(f"{path} is larger than {YAML_MAX_BYTES} bytes")
    return raw


def _text(path: Path, raw: bytes) -> str:
    """Return what editors and shells write: UTF-8 or UTF-16, with or without a mark."""
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    if encoding is None and b"\0" in raw[:2]:  # the first character of a configuration is ASCII
        encoding = "utf-16-be" if raw[0] == 0 else "utf-16-le"
    try:
        return raw.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        raise MergeError(
            f"{path} is neither UTF-8 nor UTF-16", remedy="Save it as UTF-8."
        ) from None


def _count(text: str) -> None:
    """Raise ValueError if there is more in ``text`` than any configuration has."""
    import yaml

    depth, parser = 0, getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for events, event in enumerate(yaml.parse(text, Loader=parser), start=1):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if events > EVENTS_MAX:
            raise ValueError(f"more than {EVENTS_MAX} words, lists and mappings")
        if depth > _DEPTH_MAX:
            raise ValueError("nested too deeply")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > _SCALAR_MAX:
            raise ValueError(f"a word of {len(event.value)} characters")


def _expanded(node: "Node", sizes: dict[int, int]) -> int:
    """Return how many nodes and characters ``node`` has with its aliases written out."""
    known = sizes.get(id(node))
    if known is not None:
        return known
    sizes[id(node)] = _EXPANDED_MAX + 1  # met again before it is done: it holds itself
    if isinstance(node.value, str):
        size = 1 + len(node.value)
    else:
        size = 1
        if node.tag.endswith(":map") and len(node.value) > _PAIRS_MAX:
            raise ValueError(f"a mapping of {len(node.value)} pairs")
        for item in node.value:  # a pair of nodes in a mapping
            for part in item if isinstance(item, tuple) else (item,):
                size += _expanded(part, sizes)
    sizes[id(node)] = size
    return size
