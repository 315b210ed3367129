"""A model that exists only in memory is saved into the home first, so that it has a fingerprint."""

import hashlib
from pathlib import Path
from typing import Any

from hivelearn.errors import UsageError
from hivelearn.node.config import NodeConfig
from hivelearn.store.home import Home


def kept_in_home(model: Any, tokenizer: Any, config: NodeConfig) -> Path:  # noqa: ANN401
    """Save an open transformers model and return the folder; the same model is saved once.

    Raises:
        UsageError: it is no transformers model, or its tokenizer is missing.
    """
    if not hasattr(model, "save_pretrained") or hasattr(model, "peft_config"):
        raise UsageError(
            f"a {type(model).__name__} cannot be the base of a node",
            remedy="Give a folder, a hub id, or an open transformers causal LM without an adapter.",
        )
    if tokenizer is None:
        raise UsageError(
            "an open model needs its tokenizer", remedy="hl.Node(model, tokenizer=tokenizer)."
        )
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(dtype=_bytes()).numpy())
    models = Home.open(config.home).path / "models"
    folder = models / digest.hexdigest()[:16]
    if not (folder / "complete").exists():
        from hivelearn.inference.loading import quiet

        with quiet():
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "complete").touch()
    return folder


def _bytes() -> Any:  # noqa: ANN401
    import torch

    return torch.uint8
