"""From a folder to an open model and its tokenizer, on the right device, in the right type."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from hivelearn.errors import UsageError
from hivelearn.inference.errors import NoModelError
from hivelearn.inference.foreign_code import (
    ForeignCodeError,
    code_of,
    read_object,
    refuse_foreign,
)
from hivelearn.inference.special_tokens import SpecialTokens, special_tokens

_BF16_FROM_PARAMETERS: Final = 500_000_000


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An open model with what is needed to speak to it."""

    model: Any  # a transformers causal LM, in eval mode, gradients off
    tokenizer: Any
    special: SpecialTokens


def load_model(
    folder: Path, device: str = "auto", dtype: str = "auto", *, trust_remote_code: bool = False
) -> LoadedModel:
    """Open the causal language model in ``folder``; nothing that lies in it is run.

    Args:
        folder: as :func:`resolve_model` returned it.
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto", or a torch type name such as "float32".
        trust_remote_code: the user has read the folder's code, and lets it run.

    Raises:
        ForeignCodeError: it would run code, and nobody said that it may.
        NoModelError: not a causal language model, or its files are damaged.
    """
    where = pick_device(device)
    wanted = _named_dtype(dtype)
    refuse_foreign(folder, trusted=trust_remote_code)
    settings = read_object(folder / "generation_config.json")
    try:
        with quiet():
            model, tokenizer, missing = _opened(folder, where, wanted, trust_remote_code)
    except Exception as error:  # transformers raises a dozen kinds for a bad folder
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        brought = None if trust_remote_code else code_of(folder)
        if brought and "trust_remote_code" in str(error):
            raise ForeignCodeError(folder, brought) from None
        raise NoModelError(f"{folder} holds no causal language model: {reason[:300]}") from error
    config = model.config
    if getattr(config, "is_decoder", True) is False and not _causal_by_name(config):
        raise NoModelError(f"{folder} holds an encoder ({config.model_type}), no causal model")
    if missing:  # transformers draws them at random
        raise NoModelError(f"{folder} lacks {len(missing)} weights, such as {missing[0]}")
    model.to(where).eval().requires_grad_(requires_grad=False)
    rows = model.get_input_embeddings().weight.shape[0]
    special = special_tokens(settings, config.get_text_config(), tokenizer, rows)
    return LoadedModel(model, tokenizer, special)


def _opened(
    folder: Path,
    device: str,
    dtype: torch.dtype | None,
    trust_remote_code: bool,  # noqa: FBT001
) -> tuple[Any, Any, list[str]]:
    """Return the model, its tokenizer and the names of weights that the folder lacks."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    model, told = AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        dtype=dtype or _dtype_for(folder, config, device),
        output_loading_info=True,
        generation_config=GenerationConfig(),  # the folder's is never taken: special_tokens.py
        use_safetensors=True,
        trust_remote_code=trust_remote_code,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    return model, tokenizer, sorted(told["missing_keys"])


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
                f"there is no device {wanted!r} here", remedy=_device_remedy(wanted)
            ) from error
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _device_remedy(wanted: str) -> str:
    """Tell what is missing for a device that somebody counted on."""
    otherwise = "or take what is here: device='auto'."
    if wanted.startswith("cuda"):
        if torch.version.cuda is None and torch.version.hip is None:
            return (
                f"This torch ({torch.__version__}) is built without CUDA: install one that has it, "
                "pip install --upgrade torch --index-url https://download.pytorch.org/whl/cu126, "
                f"{otherwise}"
            )
        if not torch.cuda.is_available():
            return f"torch finds no GPU: see whether nvidia-smi lists one, {otherwise}"
        return f"Use one from 'cuda:0' to 'cuda:{torch.cuda.device_count() - 1}', {otherwise}"
    if wanted.startswith("mps"):
        return (
            f"It needs macOS 12.3 or later on Apple silicon, and Python built for it; {otherwise}"
        )
    return "Use 'auto', 'cpu', 'cuda' or 'mps'."


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
