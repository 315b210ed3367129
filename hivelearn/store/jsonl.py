"""Corrections in and out: JSON lines for people, ``datasets.Dataset`` for training code.

A line is ``{"messages": [...], "right": ...}`` or ``{"prompt", "right"}``; both may
carry ``wrong``, ``domain`` and ``subject``. What an export adds (base, generation,
created_s) is taken back as it was, so that importing an export changes nothing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hivelearn.files import write_whole
from hivelearn.store.correction import TEXT_MAX_BYTES, Correction, from_plain, to_plain
from hivelearn.store.errors import CorrectionError, ImportLineError

if TYPE_CHECKING:
    from datasets import Dataset

LINE_MAX_BYTES: Final = 8 * TEXT_MAX_BYTES  # JSON escapes make at most six bytes of one
LINES_MAX: Final = 1_000_000
_KEYS: Final = frozenset(
    "messages prompt right wrong domain subject base generation created_s id holdout".split()
)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a line that does not say gets."""

    base: bytes  # fingerprint of this node's model
    created_s: float
    domain: str | None = None
    generation: int | None = None


def read_jsonl(path: Path, defaults: Defaults) -> tuple[Correction, ...]:
    """Return the corrections of a file; blank lines are passed over.

    Lines without a time get ascending ones, so that a later line about the same
    question wins.

    Raises:
        ImportLineError: the first line that cannot be read, and why.
    """
    found: list[Correction] = []
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(iter(lambda: file.readline(LINE_MAX_BYTES + 1), b""), 1):
                try:
                    _refuse_size(number, raw)
                    if line := raw.decode("utf-8-sig" if number == 1 else "utf-8").strip():
                        found.append(_correction(_fields(line), defaults, number))
                except (CorrectionError, ValueError, RecursionError) as error:
                    raise ImportLineError(path, number, _why(error)) from None
    except OSError as error:
        raise CorrectionError(
            f"{path} cannot be read: {error.strerror}", remedy="Give the path of a JSONL file."
        ) from None
    return tuple(found)


def write_jsonl(path: Path, corrections: Iterable[Correction]) -> int:
    """Write one line per correction, all or nothing; return how many."""
    lines = [json.dumps(to_plain(c), ensure_ascii=False) + "\n" for c in corrections]
    write_whole(path, "".join(lines).encode())
    return len(lines)


def to_dataset(corrections: Iterable[Correction]) -> "Dataset":
    """Return a dataset whose rows are :func:`to_plain`'s fields.

    Columns: id, messages (list of role and content), right, wrong, domain, subject,
    base (hex), generation (int64), created_s (float64), holdout (bool).
    """
    from datasets import Dataset, Features, Value

    text = Value("string")
    features = Features(
        {
            "id": text,
            "messages": [{"role": text, "content": text}],
            "right": text,
            "wrong": text,
            "domain": text,
            "subject": text,
            "base": text,
            "generation": Value("int64"),
            "created_s": Value("float64"),
            "holdout": Value("bool"),
        }
    )
    rows = [to_plain(c) for c in corrections]
    columns = {name: [row[name] for row in rows] for name in features}
    return Dataset.from_dict(columns, features=features)  # from_list needs a row at least


def _refuse_size(number: int, raw: bytes) -> None:
    if len(raw) > LINE_MAX_BYTES:
        raise CorrectionError(f"longer than {LINE_MAX_BYTES} bytes")
    if number > LINES_MAX:
        raise CorrectionError(f"more than {LINES_MAX} lines; split the file")


def _fields(line: str) -> dict[str, Any]:
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise CorrectionError("it is no JSON object")
    if unknown := sorted(set(fields) - _KEYS):
        raise CorrectionError(f"unknown field {unknown[0]!r:.80}")  # a typo must not go unseen
    if ("prompt" in fields) == ("messages" in fields):
        raise CorrectionError("it needs either 'prompt' or 'messages'")
    return fields


def _correction(fields: Mapping[str, Any], defaults: Defaults, number: int) -> Correction:
    plain = {
        "base": defaults.base.hex(),
        "generation": defaults.generation,
        "created_s": round(defaults.created_s + number * 1e-6, 6),
        **({} if defaults.domain is None else {"domain": defaults.domain}),
        **fields,
    }
    if "prompt" in fields:
        plain["messages"] = [{"role": "user", "content": plain.pop("prompt")}]
    return from_plain(plain)


def _why(error: Exception) -> str:
    if isinstance(error, CorrectionError):
        return error.what
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return "it is no JSON"
