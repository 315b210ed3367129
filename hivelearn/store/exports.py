"""Corrections out: JSON lines for people, ``datasets.Dataset`` for training code.

A line holds :func:`hivelearn.store.correction.to_plain`'s fields. What it says beyond a
question and an answer (base, generation, created_s) an import takes back as it was, so
that importing an export changes nothing.
"""

import json
from collections.abc import Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hivelearn.files import write_whole
from hivelearn.store.correction import Correction, to_plain
from hivelearn.store.errors import ExportPathError

if TYPE_CHECKING:
    from datasets import Dataset


def to_jsonl(corrections: Iterable[Correction], judges: Container[str]) -> str:
    """Return one line per correction: :func:`to_plain`'s fields, and which are held out."""
    rows = (to_plain(c) | {"holdout": c.id in judges} for c in corrections)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_lines(path: Path, lines: str) -> None:
    """Write an export, all or nothing.

    Raises:
        DiskError: the disk refuses, and nothing was written.
        ExportPathError: it can be no path, or its folder is not there.
    """
    try:
        if not path.parent.exists():
            raise ExportPathError(f"there is no folder {path.parent}")
        write_whole(path, lines.encode())
    except ValueError as error:  # a NUL, or half a character
        raise ExportPathError(f"{str(path)!r:.80} can be no file: {error}") from None


def to_dataset(corrections: Iterable[Correction], judges: Container[str]) -> "Dataset":
    """Return a dataset whose rows are :func:`to_plain`'s fields.

    Columns: id, messages (list of role and content), right, wrong, domain, subject,
    base (hex), generation (int64), created_s (float64), holdout (bool).

    Args:
        corrections: the rows, in their order.
        judges: ids of those that are held out.
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
    rows = [to_plain(c) | {"holdout": c.id in judges} for c in corrections]
    columns = {name: [row[name] for row in rows] for name in features}
    return Dataset.from_dict(columns, features=features)  # from_list needs a row at least
