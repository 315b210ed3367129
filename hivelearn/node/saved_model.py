"""A model that exists only in memory is saved into the home first, so that it has a fingerprint."""

import hashlib
import json
from pathlib import Path
from typing import Any

from hivelearn.errors import UsageError
from hivelearn.files import disk
from hivelearn.node.config import NodeConfig
from hivelearn.store.home import Home


def kept_in_home(model: Any, tokenizer: Any, config: NodeConfig) -> Path:
    """Save an open transformers model and return the folder; the same model is saved once.

    Raises:
        UsageError: it is no transformers model, or its tokenizer is missing.
    """
    if not hasattr(model, "save_pretrained") or hasattr(model, "peft_config"):
        raise UsageError(
            f"an object of type {type(model).__name__} cannot be the base of a node",
            remedy="Give a folder, a hub id, or an open transformers causal LM without an adapter.",
        )
    if tokenizer is None:
        raise UsageError(
            "an open model needs its tokenizer", remedy="hl.Node(model, tokenizer=tokenizer)."
        )
    folder = Home.open(config.home).path / "models" / _digest(model, tokenizer)
    if not (folder / "complete").exists():
        from hivelearn.inference.loading import quiet

        with disk(folder), quiet():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            (folder / "complete").touch()
    return folder


def _digest(model: Any, tokenizer: Any) -> str:
    """Return a name that differs whenever weights, configuration or tokenizer do."""
    said = [
        model.config.to_json_string(),
        str(tokenizer.chat_template),
        json.dumps(tokenizer.get_vocab(), sort_keys=True),
    ]
    digest = hashlib.sha256("\0".join(said).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(dtype=_bytes()).numpy())
    return digest.hexdigest()[:16]


def _bytes() -> Any:
    import torch

    return torch.uint8
