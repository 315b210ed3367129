"""One GGUF file to one model's folder, by transformers; where the folder goes is not known here.

The type of the weights follows from the file alone, for two nodes that open the same
file must have the same base: 16 bits where it holds 16 bits, float32 where it is
quantised (exact), and bfloat16 where float32 would be more than 4 GB.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from hivelearn.inference.errors import NoModelError

SUFFIX: Final = ".gguf"
_F32_FROM_PARAMETERS: Final = 1_000_000_000
_TOKENIZER_BYTES: Final = 64 << 20  # more than any tokenizer takes
_OS_ERROR: Final = re.compile(r"os error (\d+)")  # as safetensors tells it


class GgufError(NoModelError):
    """The GGUF file cannot be opened."""

    remedy = "Give a GGUF of an architecture that transformers reads, such as Llama or Qwen."


def plan(file: Path) -> tuple[str, int]:
    """Return the type that the weights get, and how many bytes that will take.

    Raises:
        GgufError: it is damaged, or the package gguf is missing.
    """
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


def write(file: Path, part: Path, dtype: str, tell: Callable[[str], None]) -> None:
    """Let transformers open ``file`` and save it in ``part``, as a folder of the usual kind.

    Args:
        file: a GGUF.
        part: an empty folder.
        dtype: as :func:`plan` returned it.
        tell: hears what takes long.

    Raises:
        GgufError: transformers cannot read it.
        OSError: the disk refuses.
    """
    # A folder of its own: what lies beside the file (a config, code) is nobody's business.
    inside = part / f"model{SUFFIX}"
    with suppress(OSError):
        inside.symlink_to(file.absolute())
    if not inside.exists():
        shutil.copyfile(file, inside)
    try:
        with _silent():
            _rewrite(part, inside.name, dtype, tell)
    except Exception as error:  # transformers raises a dozen kinds for a bad file
        if (number := _of_the_disk(error)) is not None:
            raise OSError(number, os.strerror(number)) from error
        raise GgufError(f"transformers cannot open {file}: {_reason(error)}") from None
    finally:
        inside.unlink(missing_ok=True)


def _rewrite(part: Path, name: str, dtype: str, tell: Callable[[str], None]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    opening = {"gguf_file": name, "trust_remote_code": False, "local_files_only": True}
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


@contextmanager
def _silent() -> Iterator[None]:
    """Keep transformers' bars off for the block; the one of GGUF files heeds no setting."""
    from transformers import modeling_gguf_pytorch_utils as reading
    from transformers.utils import logging

    shown, bar = logging.is_progress_bar_enabled(), getattr(reading, "tqdm", None)
    logging.disable_progress_bar()
    if bar is not None:
        reading.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        if bar is not None:
            reading.tqdm = bar
        if shown:
            logging.enable_progress_bar()


def _of_the_disk(error: Exception) -> int | None:
    """Return the operating system's number, also where a library wrote it into a sentence."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    told = _OS_ERROR.search(str(error))
    return int(told[1]) if told else None


def _library() -> Any:
    try:
        import gguf
    except ImportError:
        raise GgufError(
            "GGUF files need the package gguf", remedy='pip install "hivelearn[gguf]"'
        ) from None
    return gguf


def _reason(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0][:300]
