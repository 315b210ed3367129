"""A file of whatever tool, as numbered rows: JSON lines, a JSON list, CSV, Parquet.

What a file is, its first bytes say, not its name: a CSV called ``.jsonl`` is read as
what it is. Text is UTF-8, or UTF-16 as some shells write it. Nothing is known here of
what a row means. A row that cannot be read comes as the reason why not, so that one
reading of a file tells all that is wrong with it.
"""

import codecs
import csv
import io
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hivelearn.store.correction import TEXT_MAX_BYTES
from hivelearn.store.errors import CorrectionError

LINE_MAX_CHARS: Final = 8 * TEXT_MAX_BYTES  # JSON escapes make at most six characters of one
ROWS_MAX: Final = 1_000_000
WHOLE_MAX_BYTES: Final = 256 << 20  # a JSON list is read at once
PARQUET_MAX_BYTES: Final = 4 << 30  # of what its columns unpack to, a batch at a time
BATCH: Final = 1024
_HEAD_BYTES: Final = 4096
_FEW: Final = 0.1  # of one byte in two: as many zeros as no text in UTF-16 has in its low bytes
_DELIMITERS: Final = ",;\t|"

# Marks of files that are something else, and what to do with those.
_OTHERS: Final = {
    b"\x1f\x8b": "it is compressed; unpack it first",
    b"(\xb5/\xfd": "it is compressed; unpack it first",
    b"PK\x03\x04": "it is a zip file or a spreadsheet; save the table as CSV",
    b"\xd0\xcf\x11\xe0": "it is an old spreadsheet; save the table as CSV",
    b"ARROW1": "it is an Arrow file; save it as Parquet",
    b"SQLite format 3": "it is a database; export the table as CSV",
}
# Names that a CSV's first line has at least one of; imports.py knows what they mean.
_CSV_NAMES: Final = frozenset(
    "prompt messages conversations instruction question query input right completion response"
    " answer output chosen".split()
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row, or why it is none."""

    number: int  # of its line; in a list or a table, which row it is
    fields: dict[str, Any] | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a file. Going through them reads it."""

    unit: str  # what is counted: "line" or "row"
    each: Generator[Row, None, None]


def read_rows(path: Path) -> Rows:
    """Return the rows of a file.

    Raises:
        CorrectionError: it cannot be read, or is of a kind that is not read here.
            Going through the rows may raise what the operating system says.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL, or half a character
        raise unreadable(path, error) from None
    for mark, why in _OTHERS.items():
        if head.startswith(mark):
            raise CorrectionError(f"{path}: {why}")
    if head.startswith(b"PAR1"):
        return Rows("row", _parquet(path))
    encoding = _encoding(head)
    if path.suffix.lower() == ".parquet" and b"\0" in head:
        raise CorrectionError(f"{path}: it is no Parquet file, or its beginning is damaged")
    start = head.decode(encoding, "ignore").lstrip()
    if start.startswith("["):
        return Rows("row", _json_list(path, encoding))
    if not start.startswith("{") and (delimiter := _delimiter(start)):
        return Rows("line", _csv(path, encoding, delimiter))
    return Rows("line", _json_lines(path, encoding))


def unreadable(path: Path, error: OSError | ValueError) -> CorrectionError:
    """Return the error of a file that the disk does not give."""
    said = getattr(error, "strerror", None) or error
    return CorrectionError(
        f"{str(path)!r} cannot be read: {said}", remedy="Give the path of a file of corrections."
    )


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # Without a mark: in what people write, every second byte of UTF-16 is mostly zero.
    even, odd = head[0::2].count(0), head[1::2].count(0)
    few = _FEW * len(head) / 2
    if odd > few >= even:
        return "utf-16-le"
    if even > few >= odd:
        return "utf-16-be"
    return "utf-8-sig"


def _open(path: Path, encoding: str, newline: str | None = None) -> io.TextIOWrapper:
    # UTF-8 keeps bytes that are none, so that the line which holds them can be named.
    errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
    return path.open(encoding=encoding, errors=errors, newline=newline)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(encoding: str) -> str:
    return "UTF-8" if encoding == "utf-8-sig" else encoding[:6].upper()


def _no_text(encoding: str) -> str:
    return f"it is not {_named(encoding)} text; save the file as UTF-8"


def _json_lines(path: Path, encoding: str) -> Generator[Row, None, None]:
    number = 0
    try:
        with _open(path, encoding) as file:  # newline=None: \n, \r\n and \r end a line
            for number, line in enumerate(iter(lambda: file.readline(LINE_MAX_CHARS + 1), ""), 1):
                if len(line) > LINE_MAX_CHARS:
                    yield Row(number, None, f"longer than {LINE_MAX_CHARS} characters")
                    return
                if number > ROWS_MAX:
                    yield Row(number, None, f"more than {ROWS_MAX} lines; split the file")
                    return
                if not _is_utf8(line):
                    yield Row(number, None, _no_text(encoding))
                elif text := line.strip():
                    yield _json_row(number, text)
    except UnicodeError:
        yield Row(number + 1, None, _no_text(encoding))


def _json_row(number: int, text: str) -> Row:
    try:
        return _object(number, json.loads(text))
    except (ValueError, RecursionError):
        if text == "{":
            why = "an object over several lines; write one object a line, or a list of objects"
            return Row(number, None, why)
        return Row(number, None, "it is no JSON")


def _object(number: int, value: object) -> Row:
    if isinstance(value, dict):
        return Row(number, value)
    return Row(number, None, "it is no JSON object")


def _json_list(path: Path, encoding: str) -> Generator[Row, None, None]:
    if path.stat().st_size > WHOLE_MAX_BYTES:
        why = f"a JSON list of more than {WHOLE_MAX_BYTES >> 20} MiB; write one object a line"
        yield Row(1, None, why)
        return
    try:
        with _open(path, encoding) as file:
            text = file.read()
    except UnicodeError:
        text = "\udc80"
    if not _is_utf8(text):
        yield Row(1, None, _no_text(encoding))
        return
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        at = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        yield Row(1, None, f"it is no JSON{at}")
        return
    if len(values) > ROWS_MAX:
        yield Row(ROWS_MAX + 1, None, f"more than {ROWS_MAX} rows; split the file")
        return
    yield from (_object(number, value) for number, value in enumerate(values, 1))


def _delimiter(start: str) -> str:
    """Return what separates the columns if the first line names any of ours, or nothing."""
    header = start.splitlines()[0] if start else ""

    def known(delimiter: str) -> int:
        names = (name.strip(' "') for name in header.split(delimiter))
        return len(_CSV_NAMES.intersection(names))

    best = max(_DELIMITERS, key=known)
    return best if known(best) else ""


def _csv(path: Path, encoding: str, delimiter: str) -> Generator[Row, None, None]:
    number = 1
    try:
        with _open(path, encoding, newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader)]
            if len(set(header)) != len(header):
                yield Row(1, None, "two columns have one name")
                return
            while True:
                number = reader.line_num + 1
                cells = next(reader, None)
                if cells is None:
                    return
                if number > ROWS_MAX:
                    yield Row(number, None, f"more than {ROWS_MAX} lines; split the file")
                    return
                if cells:
                    yield _csv_row(number, header, cells, encoding)
    except csv.Error as error:
        yield Row(number, None, f"it is no CSV: {error}")
    except UnicodeError:
        yield Row(number, None, _no_text(encoding))


def _csv_row(number: int, header: list[str], cells: list[str], encoding: str) -> Row:
    if len(cells) > len(header):
        return Row(number, None, f"{len(cells)} cells, but the first line names {len(header)}")
    fields: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=False):
        if not _is_utf8(cell):
            return Row(number, None, _no_text(encoding))
        if not cell:
            continue  # an empty cell says nothing, as null does
        try:
            fields[name] = _CELLS[name](cell) if name in _CELLS else cell
        except (ValueError, RecursionError):
            return Row(number, None, f"{name!r} holds no JSON, or no number")
    return Row(number, fields)


# Columns that are more than text. A table has no other way to hold a conversation.
_CELLS: Final[dict[str, Callable[[str], Any]]] = {
    "messages": json.loads,
    "conversations": json.loads,
    "created_s": float,
    "generation": float,
}


def _parquet(path: Path) -> Generator[Row, None, None]:
    try:
        from pyarrow import ArrowException, ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError:
        yield Row(1, None, "Parquet needs pyarrow (pip install pyarrow); or save it as CSV")
        return
    number = 0
    try:
        with ParquetFile(path) as file:
            about = file.metadata
            size = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
            if about.num_rows > ROWS_MAX or size > PARQUET_MAX_BYTES:
                why = f"more than {ROWS_MAX} rows or {PARQUET_MAX_BYTES >> 30} GiB; split the file"
                yield Row(1, None, why)
                return
            for batch in file.iter_batches(batch_size=BATCH):
                for fields in batch.to_pylist():
                    number += 1
                    yield Row(number, fields)
    except (ArrowException, ArrowInvalid, OSError, UnicodeError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield Row(number + 1, None, f"the Parquet file is damaged: {said:.200}")
