"""A GGUF file to a model's folder, converted once into the cache.

transformers opens a GGUF by taking every tensor apart and building the tokenizer
anew, which costs a minute each time and gives nothing that can be fingerprinted.
So it is done once: the folder is named by the hash of the file, made under a lock
that other processes wait for, written beside its place and renamed into it whole.
What a killed conversion left is removed by the next one.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import platformdirs

from hivelearn.files import (
    TMP_SUFFIX,
    DiskError,
    DiskFullError,
    disk,
    rename_whole,
    sync_directory,
    sync_file,
    write_whole,
)
from hivelearn.inference import gguf_conversion
from hivelearn.inference.gguf_conversion import GgufError

VARIABLE: Final = "HIVELEARN_CACHE"
_MAGIC: Final = b"GGUF"
_DIGITS: Final = 16  # of the hash, in the folder's name
_TABLE: Final = "hashes.json"  # file to its size, time and hash: gigabytes are hashed once
_WHOLE: Final = "converted.json"  # written last: the sizes of all files
_BLOCK: Final = 1 << 20
_REMEDY: Final = f"Free disk space, or set {VARIABLE} to a folder on a larger disk."


def converted(
    file: Path,
    tell: Callable[[str], None],
    *,
    expected: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """Return the folder of the model in ``file``.

    Args:
        file: a GGUF.
        tell: hears what takes long.
        expected: the SHA-256 that the file must have, in hex; None takes any.
        environ: where HIVELEARN_CACHE is looked up.

    Raises:
        GgufError: it is no GGUF, not the expected one, or of no known architecture.
        DiskError: the cache cannot be written.
    """
    cache = Path(environ.get(VARIABLE) or _platform_cache()).expanduser().absolute() / "gguf"
    with _disk(cache):
        cache.mkdir(parents=True, exist_ok=True)
    digest = _digest(file, cache)
    if expected is not None and digest != expected:
        raise GgufError(
            f"{file} is not the file that was published: its SHA-256 begins with {digest[:16]}",
            remedy="Install its package again.",
        )
    folder = cache / digest[:_DIGITS]
    if _is_whole(folder):
        return folder
    with _alone(cache / f"{folder.name}.lock", tell):
        if not _is_whole(folder):  # else another process was faster
            _clear(cache, folder)
            _convert(file, folder, tell)
    return folder


def _convert(file: Path, folder: Path, tell: Callable[[str], None]) -> None:
    """Write the model of ``file`` beside ``folder``, then give it that name."""
    dtype, size_bytes = gguf_conversion.plan(file)
    with _disk(folder.parent):
        free = shutil.disk_usage(folder.parent).free
        if free < size_bytes:
            told = f"{size_bytes >> 20} MiB are needed and {free >> 20} MiB are free"
            raise DiskFullError(folder.parent, told)
    tell(f"converting {file.name} once, {size_bytes >> 20} MiB; this takes a minute or more")
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{TMP_SUFFIX}")
    try:
        with _disk(folder.parent):
            part.mkdir()
            gguf_conversion.write(file, part, dtype, tell)
            sizes = {path.name: path.stat().st_size for path in sorted(part.iterdir())}
            write_whole(part / _WHOLE, json.dumps(sizes).encode())
            for path in part.iterdir():
                with path.open("rb+") as written:
                    sync_file(written.fileno())
            sync_directory(part)
            rename_whole(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    tell(f"converted into {folder}")


def _is_whole(folder: Path) -> bool:
    """Return whether every file is there with the size that it was written with."""
    try:
        sizes = json.loads((folder / _WHOLE).read_bytes())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _clear(cache: Path, folder: Path) -> None:
    """Remove a damaged conversion and what killed ones left; the lock is held."""
    for left in (folder, *cache.glob(f".{folder.name}.*{TMP_SUFFIX}")):
        shutil.rmtree(left, ignore_errors=True)


def _digest(file: Path, cache: Path) -> str:
    """Return the SHA-256 of ``file`` in hex; a file that has not changed is not read again."""
    try:
        at = file.stat()
        place, stamp = str(file.resolve()), [at.st_size, at.st_mtime_ns]
        table = _table(cache)
        known = table.get(place)
        if isinstance(known, list) and known[:2] == stamp:
            return str(known[2])
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            if stream.read(len(_MAGIC)) != _MAGIC:
                raise GgufError(f"{file} is no GGUF file")
            stream.seek(0)
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise GgufError(f"{file} cannot be read: {error.strerror or error}") from None
    with suppress(DiskError):  # a cache may always be lost
        row = [*stamp, digest.hexdigest()]
        write_whole(cache / _TABLE, json.dumps({**table, place: row}).encode())
    return digest.hexdigest()


def _table(cache: Path) -> dict[str, Any]:
    try:
        found = json.loads((cache / _TABLE).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _alone(lock: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold ``lock`` during the block, waiting for whoever converts the same file."""
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    with _disk(lock.parent):
        try:
            held.acquire(timeout=0)
        except Timeout:
            tell("another process converts it; waiting")
            held.acquire()
    try:
        yield
    finally:
        held.release()


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """As :func:`disk`, with the remedy of a cache."""
    try:
        with disk(path):
            yield
    except DiskError as error:
        error.remedy = _REMEDY
        raise


def _platform_cache() -> Path:
    return platformdirs.user_cache_path("hivelearn", appauthor=False)
