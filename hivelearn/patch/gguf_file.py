"""An adapter as a GGUF file that llama.cpp loads beside its base: ``--lora adapter_model.gguf``.

Written as llama.cpp's ``convert_lora_to_gguf.py`` does: each factor in float32 under the
name of its base tensor (``blk.3.attn_q.weight.lora_a``), alpha in the metadata, and the
scale ``alpha / rank`` left to the reader. llama.cpp rotates neighbours where Llama
rotates halves, so there the rows of queries and keys are reordered, in B as in the base.

The names and the number of heads come from the base's configuration. Only
architectures whose layout is known here are written: a file with the wrong order of rows
loads, and answers slightly wrong.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from hivelearn.patch.errors import AdapterError

if TYPE_CHECKING:
    from torch import Tensor

GGUF_FILE: Final = "adapter_model.gguf"
_CONFIG_MAX_BYTES: Final = 1 << 20
# transformers' model_type to (llama.cpp's architecture, whether queries and keys are reordered).
# Source: convert_hf_to_gguf.py of llama.cpp, the classes with undo_permute.
_ARCHITECTURES: Final = {
    "llama": ("llama", True),
    "mistral": ("llama", True),
    "qwen2": ("qwen2", False),
    "qwen3": ("qwen3", False),
    "gemma": ("gemma", False),
    "gemma2": ("gemma2", False),
    "gemma3_text": ("gemma3", False),
    "phi3": ("phi3", False),
}
_REORDERED: Final = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}


def config_of(model: Any) -> Mapping[str, Any]:
    """Return the configuration of ``model``: its folder, or an open transformers model.

    Raises:
        AdapterError: neither, or its config.json cannot be read.
    """
    if isinstance(model, str | Path):
        path = Path(model) / "config.json"
        try:
            with path.open("rb") as file:
                found = json.loads(file.read(_CONFIG_MAX_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise AdapterError(
                f"{path} of the base cannot be read: {error}",
                remedy="Give the folder of the base model: save(..., format='gguf', model=folder).",
            ) from None
    elif hasattr(model, "config"):
        found = model.config.to_dict()
    else:
        raise AdapterError(
            "a GGUF adapter needs to know its base model's layout",
            remedy="Say which: save(..., format='gguf', model=node.model), or its folder.",
        )
    if not isinstance(found, Mapping):
        raise AdapterError("the base's config.json is no JSON object")
    inner = found.get("text_config")
    return inner if isinstance(inner, Mapping) else found


def to_bytes(
    factors: "Mapping[str, tuple[Tensor, Tensor]]", alpha: float, config: Mapping[str, Any]
) -> bytes:
    """Return the file of an adapter.

    Args:
        factors: module to (A (r, d_in), B (d_out, r)).
        alpha: the delta is ``alpha / r · B · A``.
        config: of the base model, as :func:`config_of` returned it.

    Raises:
        AdapterError: an architecture or a module whose layout is not known here, or the
            package gguf is missing.
        OSError: the library writes files only, and the temporary folder is full.
    """
    gguf = _library()
    architecture, reordered = _architecture(config)
    names = _named(gguf, factors, config, architecture)
    with TemporaryDirectory() as place:
        path = Path(place) / GGUF_FILE
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for name, module in names.items():
            a, b = (factor.float() for factor in factors[module])
            if reordered and (heads := _REORDERED.get(module.rsplit(".", 1)[-1])) is not None:
                b = _neighbours(b, _heads(config, heads))
            writer.add_tensor(f"{name}.lora_a", a.contiguous().numpy())
            writer.add_tensor(f"{name}.lora_b", b.contiguous().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _architecture(config: Mapping[str, Any]) -> tuple[str, bool]:
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in _ARCHITECTURES:
        raise AdapterError(
            f"the layout of {kind!r:.60} models in GGUF is not known here",
            remedy="Save it for PEFT, and use llama.cpp's convert_lora_to_gguf.py on that folder.",
        )
    return _ARCHITECTURES[kind]


def _named(
    gguf: Any, factors: Mapping[str, Any], config: Mapping[str, Any], architecture: str
) -> dict[str, str]:
    """Return llama.cpp's name of each module's weight, to the module."""
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    layers = config.get("num_hidden_layers")
    if type(layers) is not int or not 0 < layers <= 1 << 12:
        raise AdapterError("the base's config.json names no number of layers")
    table = gguf.get_tensor_name_map(kinds[architecture], layers)
    found = {}
    for module in factors:
        name = table.get_name(f"{module}.weight", try_suffixes=(".weight",))
        if name is None:
            raise AdapterError(
                f"{module}: llama.cpp has no tensor of that name in a {architecture} model"
            )
        found[name] = module
    return found


def _heads(config: Mapping[str, Any], name: str) -> int:
    heads = config.get(name) or config.get("num_attention_heads")
    if type(heads) is not int or heads < 1:
        raise AdapterError(f"the base's config.json names no {name}")
    return heads


def _neighbours(b: "Tensor", heads: int) -> "Tensor":
    """Reorder the rows of each head: the two halves are interleaved."""
    rows, rank = b.shape
    if rows % (2 * heads):
        raise AdapterError(f"{rows} rows are no {heads} heads of two halves")
    halves = b.reshape(heads, 2, rows // heads // 2, rank)
    return halves.swapaxes(1, 2).reshape(rows, rank)


def _library() -> Any:
    try:
        import gguf
    except ImportError:
        raise AdapterError(
            "GGUF files need the package gguf", remedy='pip install "hivelearn[gguf]"'
        ) from None
    return gguf
