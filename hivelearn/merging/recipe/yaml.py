"""A YAML document that a stranger wrote, read within bounds.

A file of 300 bytes can name a list of lists of lists by aliases that, once
printed or walked, fills the memory. So its size is reckoned with every alias
written out, before it becomes values.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hivelearn.merging.errors import MergeError

if TYPE_CHECKING:
    from yaml import Node

YAML_MAX_BYTES: Final = 1 << 18  # a second of reading; real ones have a few KB
_EXPANDED_MAX: Final = 4 * YAML_MAX_BYTES  # a file without aliases stays below half of it
_SCALAR_MAX: Final = 4_096  # characters; a number such as 1:1:1:… of many takes a minute
_PAIRS_MAX: Final = 4_096  # of one mapping; keys may be chosen to collide


def document(path: Path) -> Any:
    """Return what the YAML file at ``path`` holds.

    Raises:
        MergeError: not there, too large, or not YAML.
    """
    import yaml

    try:
        if path.exists() and not path.is_file():  # a pipe that nobody writes to
            raise MergeError(f"{path} is no file", remedy="Give the path of a YAML file.")
        with path.open("rb") as file:
            text = file.read(YAML_MAX_BYTES + 1)
        if len(text) > YAML_MAX_BYTES:
            raise MergeError(f"{path} is larger than {YAML_MAX_BYTES} bytes")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded(node, {}) > _EXPANDED_MAX:
            raise MergeError(
                f"{path} grows beyond all bounds through its aliases",
                remedy="Write it without aliases (*name).",
            )
        return loader.construct_document(node)
    except OSError as error:
        raise MergeError(
            f"{path} cannot be read: {error.strerror}", remedy="Give the path of a YAML file."
        ) from None
    # PyYAML lets the plain errors through for a date such as 2001-99-99, `!!bool x`, `!!int ''`.
    except (
        yaml.YAMLError, RecursionError, ValueError, ArithmeticError, LookupError, AttributeError,
        TypeError,
    ) as error:  # fmt: skip
        first = str(error).splitlines()[0][:200] if str(error) else "nested too deeply"
        raise MergeError(f"{path} is not YAML: {first}", remedy="Mend the file.") from None


def _expanded(node: "Node", sizes: dict[int, int]) -> int:
    """Return how many nodes and characters ``node`` has with its aliases written out."""
    known = sizes.get(id(node))
    if known is not None:
        return known
    sizes[id(node)] = _EXPANDED_MAX + 1  # met again before it is done: it holds itself
    if isinstance(node.value, str):
        size = 1 + len(node.value)
        if size > _SCALAR_MAX:
            raise ValueError(f"a word of {size - 1} characters")
    else:
        size = 1
        if node.tag.endswith(":map") and len(node.value) > _PAIRS_MAX:
            raise ValueError(f"a mapping of {len(node.value)} pairs")
        for item in node.value:  # a pair of nodes in a mapping
            for part in item if isinstance(item, tuple) else (item,):
                size += _expanded(part, sizes)
    sizes[id(node)] = size
    return size
