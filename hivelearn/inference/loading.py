"""From a folder to an open model and its tokenizer, on the right device, in the right type."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from hivelearn.errors import UsageError
from hivelearn.inference.model_folder import NoModelError

_BF16_FROM_PARAMETERS: Final = 500_000_000


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An open model with what is needed to speak to it."""

    model: Any  # a transformers causal LM, in eval mode, gradients off
    tokenizer: Any


def load_model(folder: Path, device: str = "auto", dtype: str = "auto") -> LoadedModel:
    """Open the causal language model in ``folder``.

    Args:
        folder: as :func:`resolve_model` returned it.
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto", or a torch type name such as "float32".

    Raises:
        NoModelError: not a causal language model, or its files are damaged.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    where = pick_device(device)
    wanted = _named_dtype(dtype)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder)
            model, told = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=wanted or _dtype_for(folder, config, where),
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # transformers raises a dozen kinds for a bad folder
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise NoModelError(f"{folder} holds no causal language model: {reason[:300]}") from error
    if getattr(config, "is_decoder", True) is False and not _causal_by_name(config):
        raise NoModelError(f"{folder} holds an encoder ({config.model_type}), no causal model")
    if missing := sorted(told["missing_keys"]):  # transformers draws them at random
        raise NoModelError(f"{folder} lacks {len(missing)} weights, such as {missing[0]}")
    model.to(where).eval().requires_grad_(requires_grad=False)
    return LoadedModel(model, tokenizer)


def _causal_by_name(config: Any) -> bool:
    """Return whether a model that may be encoder or decoder was saved as a causal one.

    The auto class opens BERT's kin too, and they would read the answer before giving it.
    """
    names = getattr(config, "architectures", None) or ()
    return any("CausalLM" in name or name.startswith("GPT") for name in names)


def _named_dtype(name: str) -> torch.dtype | None:
    """Return the torch type of this name; None for "auto"."""
    if name == "auto":
        return None
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UsageError(
            f"{name!r} is no type of weights", remedy="Use 'auto', 'float32' or 'bfloat16'."
        )
    return found


def pick_device(wanted: str) -> str:
    """Return a torch device name for ``wanted`` ("auto" or such a name)."""
    if wanted != "auto":
        try:
            torch.empty(1, device=wanted).cpu()  # named rightly, and really here
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise UsageError(
                f"there is no device {wanted!r} here",
                remedy="Use 'auto', 'cpu', 'cuda' or 'mps'.",
            ) from error
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype_for(folder: Path, config: Any, device: str) -> torch.dtype:
    stored = getattr(config, "dtype", None)
    weight_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return pick_dtype(device, stored, weight_bytes, bf16=has_bf16_kernels(device))


def pick_dtype(
    device: str, stored: torch.dtype | None, weight_bytes: int, *, bf16: bool
) -> torch.dtype:
    """Return bfloat16 where it is stored so and has kernels; float32 everywhere else.

    Small models stay in float32 on a CPU: they are fast enough, and training
    them in sixteen bits costs accuracy for nothing. Processors without
    bfloat16 kernels emulate it a hundred times slower.

    Args:
        device: as :func:`pick_device` returned it.
        stored: the type of the weights on disk, if the model says.
        weight_bytes: the size of the weights on disk.
        bf16: whether the device multiplies bfloat16 in hardware.
    """
    if device.startswith("cuda"):
        return torch.bfloat16 if bf16 else torch.float16
    if stored not in (torch.bfloat16, torch.float16):
        return torch.float32
    if weight_bytes // 2 < _BF16_FROM_PARAMETERS:
        return torch.float32
    if device == "mps":
        return torch.float16
    return torch.bfloat16 if bf16 else torch.float32


def has_bf16_kernels(device: str = "cpu") -> bool:
    """Return whether this device multiplies bfloat16 matrices in hardware."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars off for one call, then as the caller had them."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
