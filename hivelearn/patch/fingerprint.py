"""Which base model this is: one hash of what changes its function.

Tensors count as they lie *on disk* (name, type, shape, bytes), sorted by name,
whatever the sharding: in memory a tied model has one tensor more, a mixture of
experts twenty fewer. Besides: the configuration fields that change the forward
pass, vocabulary with merges, and the chat template. Names of authors, paths,
versions of libraries do not count.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from hivelearn.errors import UsageError

_TAG: Final = b"hivelearn/base/1\0"
_BLOCK: Final = 1 << 20
_HEADER_MAX: Final = 100 << 20  # safetensors' own limit; this is the user's own file
# Fields of config.json that change the function, where they are present and not null.
CONFIG_FIELDS: Final = (
    "activation_function attention_bias attention_dropout attn_logit_softcapping "
    "attention_multiplier clip_qkv embedding_multiplier final_logit_softcapping head_dim "
    "hidden_act hidden_activation hidden_size intermediate_size layer_norm_eps "
    "layer_norm_epsilon layer_types logits_scaling max_window_layers mlp_bias model_type "
    "moe_intermediate_size n_embd n_head n_inner n_layer norm_topk_prob num_attention_heads "
    "num_experts num_experts_per_tok num_hidden_layers num_key_value_heads num_local_experts "
    "partial_rotary_factor qk_layernorm query_pre_attn_scalar residual_multiplier rms_norm_eps "
    "rope_local_base_freq rope_parameters rope_scaling rope_theta scale_attn_weights "
    "sliding_window sliding_window_pattern text_config tie_word_embeddings use_qk_norm "
    "use_sliding_window vocab_size"
).split()


class NoFingerprintError(UsageError):
    """This folder is not a model that can be identified."""


def of_folder(folder: Path, cache_file: Path | None = None) -> bytes:
    """Return the 32-byte fingerprint of the model saved in ``folder``.

    Args:
        folder: holds config.json, \\*.safetensors and the tokenizer's files.
        cache_file: JSON file keyed by path, sizes and times, so that gigabytes
            are hashed once; None hashes each time.

    Raises:
        NoFingerprintError: no safetensors there, or a file is damaged.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files or not (folder / "config.json").exists():
        raise NoFingerprintError(
            f"{folder} holds no config.json with *.safetensors",
            remedy="Save the model with save_pretrained (safetensors is its default).",
        )
    stamp = _stamp(folder)
    cache = _read_cache(cache_file)
    if stamp in cache:
        return bytes.fromhex(cache[stamp])
    digest = _compute(folder, files)
    if cache_file is not None:
        _write_cache(cache_file, cache | {stamp: digest.hex()})
    return digest


def _compute(folder: Path, files: list[Path]) -> bytes:
    total = hashlib.sha256(_TAG)
    try:
        tensors = sorted(row for file in files for row in _tensors(file))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        words = _vocabulary(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise NoFingerprintError(
            f"the model in {folder} is damaged: {error}",
            remedy="Download or save it again; a file is cut or is no safetensors file.",
        ) from error
    for name, dtype, shape, digest in tensors:
        _add(total, name.encode(), dtype.encode(), json.dumps(shape).encode(), digest)
    kept = {key: config[key] for key in CONFIG_FIELDS if config.get(key) is not None}
    _add(total, json.dumps(kept, sort_keys=True).encode(), *words)
    return total.digest()


def _add(total: "hashlib._Hash", *parts: bytes) -> None:
    for part in parts:  # lengths first: no two lists of parts share their bytes
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)


def _tensors(file: Path) -> Iterator[tuple[str, str, list[int], bytes]]:
    """Yield (name, dtype, shape, SHA-256 of the bytes) of each tensor in ``file``."""
    with file.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        if size > _HEADER_MAX:
            raise ValueError(f"{file.name}: header of {size} bytes")
        table = json.loads(stream.read(size))
        table.pop("__metadata__", None)
        for name, row in table.items():
            start, end = row["data_offsets"]
            stream.seek(8 + size + start)
            yield name, row["dtype"], row["shape"], _hash(stream, end - start, file.name)


def _hash(stream: Any, left: int, name: str) -> bytes:  # noqa: ANN401 - any binary file
    digest = hashlib.sha256()
    while left > 0:
        block = stream.read(min(left, _BLOCK))
        if not block:
            raise ValueError(f"{name} ends too early")
        digest.update(block)
        left -= len(block)
    return digest.digest()


def _vocabulary(folder: Path) -> list[bytes]:
    """Return vocabulary, merges and chat template as bytes that compare equal iff they mean equal."""
    parts = []
    fast = folder / "tokenizer.json"
    if fast.exists():
        model = json.loads(fast.read_text(encoding="utf-8"))
        merges = [m if isinstance(m, str) else " ".join(m) for m in model["model"].get("merges", [])]
        added = sorted((t["id"], t["content"]) for t in model.get("added_tokens", []))
        vocabulary = model["model"].get("vocab")
        parts.append(json.dumps([vocabulary, merges, added], sort_keys=True).encode())
    else:
        slow = [folder / name for name in ("tokenizer.model", "vocab.json", "merges.txt")]
        parts += [path.read_bytes() for path in slow if path.exists()]
    template = folder / "chat_template.jinja"
    settings = folder / "tokenizer_config.json"
    if template.exists():
        parts.append(template.read_bytes())
    elif settings.exists():
        text = json.loads(settings.read_text(encoding="utf-8")).get("chat_template")
        parts.append(text.encode() if isinstance(text, str) else json.dumps(text).encode())
    return parts


def _stamp(folder: Path) -> str:
    names = ("*.safetensors", "config.json", "tokenizer*", "vocab.json", "merges.txt", "chat_*")
    rows = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for pattern in names
        for path in folder.glob(pattern)
    ]
    return json.dumps([str(folder.resolve()), sorted(rows)])


def _read_cache(file: Path | None) -> Mapping[str, str]:
    if file is None:
        return {}
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a cache may always be lost
    return table if isinstance(table, dict) else {}


def _write_cache(file: Path, table: Mapping[str, str]) -> None:
    partial = file.with_suffix(".tmp")
    try:
        partial.write_text(json.dumps(table), encoding="utf-8")
        partial.replace(file)
    except OSError:
        partial.unlink(missing_ok=True)  # a read-only home still computes
