"""Which base model this is: one hash of what changes its function.

Tensors count as they lie *on disk* (name, type, shape, bytes), sorted by name,
whatever the sharding: in memory a tied model has one tensor more, a mixture of
experts twenty fewer. Besides: the configuration fields that change the forward
pass, vocabulary with merges, and the chat template. Names of authors, paths,
versions of libraries do not count.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from hivelearn.errors import UsageError
from hivelearn.files import DiskError, write_whole
from hivelearn.printable import shown

_TAG: Final = b"hivelearn/base/1\0"
_BLOCK: Final = 1 << 20
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_NESTED: Final = "text_config"
# What reading a cut, foreign or mistyped file of the user's own can raise.
_DAMAGE: Final = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
_HEADER_MAX: Final = 100 << 20  # safetensors' own limit; this is the user's own file
# Fields of config.json that change the function, where they are present and not null.
CONFIG_FIELDS: Final = (
    "activation_function alibi attention_bias attention_chunk_size attention_multiplier "
    "attn_logit_softcapping clip_qkv decoder_sparse_step embedding_multiplier "
    "final_logit_softcapping first_k_dense_replace head_dim hidden_act hidden_activation "
    "hidden_size intermediate_size kv_lora_rank layer_norm_eps layer_norm_epsilon layer_types "
    "logits_scaling max_window_layers mlp_bias mlp_only_layers model_type moe_intermediate_size "
    "multi_query n_embd n_group n_head n_inner n_layer n_routed_experts n_shared_experts "
    "new_decoder_architecture no_rope_layers norm_topk_prob num_attention_heads num_experts "
    "num_experts_per_tok num_hidden_layers num_key_value_heads num_local_experts parallel_attn "
    "partial_rotary_factor q_lora_rank qk_layernorm qk_nope_head_dim qk_rope_head_dim "
    "query_pre_attn_scalar reorder_and_upcast_attn residual_multiplier rms_norm_eps "
    "rope_local_base_freq rope_parameters rope_scaling rope_theta rotary_emb_base rotary_pct "
    "routed_scaling_factor scale_attn_by_inverse_layer_idx scale_attn_weights scoring_func "
    "shared_expert_intermediate_size sliding_window sliding_window_pattern tie_word_embeddings "
    "topk_group topk_method use_parallel_residual use_qk_norm use_sliding_window v_head_dim "
    "vocab_size"
).split()


class NoFingerprintError(UsageError):
    """This folder is not a model that can be identified."""


def of_folder(folder: Path, cache_file: Path | None = None) -> bytes:
    """Return the 32-byte fingerprint of the model saved in ``folder``.

    Args:
        folder: holds config.json, safetensors files and the tokenizer's files.
        cache_file: JSON file from folder to file sizes, times and fingerprint,
            so that gigabytes are hashed once; None hashes each time.

    Raises:
        NoFingerprintError: no safetensors there, or a file is damaged.
    """
    try:
        files = weight_files(folder)
        if not files or not (folder / "config.json").exists():
            raise NoFingerprintError(
                f"{folder} holds no config.json with *.safetensors",
                remedy="Save the model with save_pretrained (safetensors is its default).",
            )
        place, stamp = str(folder.resolve()), _stamp(folder)
        cache = _read_cache(cache_file)
        if (known := cache.get(place)) is not None and known[0] == stamp:
            return bytes.fromhex(known[1])
        digest = _compute(folder, files)
    except _DAMAGE as error:
        raise NoFingerprintError(
            f"the model in {folder} is damaged: {error}",
            remedy="Download or save it again; a file is cut or is no safetensors file.",
        ) from error
    if cache_file is not None:
        _write_cache(cache_file, {**cache, place: (stamp, digest.hex())})
    return digest


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers would load: a stray one beside them does not count."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists():
        return [whole]
    if index.exists():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        for name in names:  # elsewhere it is another folder's, and its copy would not be found
            if Path(name).name != name:
                raise ValueError(f"the index names {shown(name)}, which is no file beside it")
        return [folder / name for name in sorted(set(names))]
    return sorted(folder.glob("*.safetensors"))


def _compute(folder: Path, files: list[Path]) -> bytes:
    total = hashlib.sha256(_TAG)
    for name, dtype, shape, digest in sorted(row for file in files for row in _tensors(file)):
        _add(total, name.encode(), dtype.encode(), json.dumps(shape).encode(), digest)
    config = _function_of(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    _add(total, json.dumps(config, sort_keys=True).encode(), _vocabulary(folder), _template(folder))
    return total.digest()


def _function_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``config`` that change the forward pass."""
    kept = {name: config[name] for name in CONFIG_FIELDS if config.get(name) is not None}
    if isinstance(nested := config.get(_NESTED), dict):  # a language model inside a larger one
        kept[_NESTED] = _function_of(nested)
    return kept


def _add(total: "hashlib._Hash", *parts: bytes) -> None:
    for part in parts:  # lengths first: no two lists of parts share their bytes
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)


def _tensors(file: Path) -> Iterator[tuple[str, str, list[int], bytes]]:
    """Yield (name, dtype, shape, SHA-256 of the bytes) of each tensor in ``file``."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > _HEADER_MAX:
            raise ValueError(f"{file.name}: header of {size} bytes")
        table = json.loads(stream.read(size))
        table.pop("__metadata__", None)
        for name, row in table.items():
            start, end = row["data_offsets"]
            stream.seek(8 + size + start)
            yield name, row["dtype"], row["shape"], _hash(stream, end - start, file.name)


def _hash(stream: Any, left: int, name: str) -> bytes:
    digest = hashlib.sha256()
    while left > 0:
        block = stream.read(min(left, _BLOCK))
        if not block:
            raise ValueError(f"{name} ends too early")
        digest.update(block)
        left -= len(block)
    return digest.digest()


def _vocabulary(folder: Path) -> bytes:
    """Return tokens with their numbers, and merges: equal bytes if they mean the same."""
    fast = folder / "tokenizer.json"
    if not fast.exists():
        slow = [folder / name for name in ("tokenizer.model", "vocab.json", "merges.txt")]
        files = {path.name: path.read_bytes().hex() for path in slow if path.exists()}
        return json.dumps(files, sort_keys=True).encode()
    table = json.loads(fast.read_text(encoding="utf-8"))
    model = table["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in model.get("merges", [])]
    added = sorted((token["id"], token["content"]) for token in table.get("added_tokens", []))
    return json.dumps([model.get("vocab"), merges, added], sort_keys=True).encode()


def _template(folder: Path) -> bytes:
    """Return the chat template, wherever this version of transformers keeps it."""
    template, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if template.exists():
        return template.read_bytes()
    if not settings.exists():
        return b""
    text = json.loads(settings.read_text(encoding="utf-8")).get("chat_template") or ""
    return text.encode() if isinstance(text, str) else json.dumps(text).encode()


def _stamp(folder: Path) -> str:
    names = ("*.safetensors", "*.json", "tokenizer.model", "merges.txt", "chat_template.jinja")
    rows = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for pattern in names
        for path in folder.glob(pattern)
    ]
    return json.dumps(sorted(rows))


def _read_cache(file: Path | None) -> dict[str, tuple[str, str]]:
    """Return folder -> (stamp, fingerprint in hex); a cache may always be lost."""
    if file is None:
        return {}
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
        rows = {str(place): (str(stamp), str(digest)) for place, (stamp, digest) in table.items()}
    except _DAMAGE:
        return {}
    return {place: row for place, row in rows.items() if _HEX.fullmatch(row[1])}


def _write_cache(file: Path, table: Mapping[str, tuple[str, str]]) -> None:
    with suppress(DiskError):  # a read-only home still computes
        write_whole(file, json.dumps(table).encode())
