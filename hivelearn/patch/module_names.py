"""One module, one name: a path or a tensor's key less what wraps it.

Compilers, data-parallel engines and PEFT itself put parts into the names of modules that say how
a run was made and nothing of the model. They are dropped here, wherever a name comes in, so that
a compiled run, a sharded one and a plain one end as the same adapter.

How a *model* spells its modules (``model.layers`` or ``model.language_model.layers``) differs by
the class that opened it and the version of transformers. That cannot be decided from a name
alone: :func:`core` and :func:`tails` say what may be one module, and who knows the model decides.
"""

import re
from collections.abc import Iterable
from typing import Final

from hivelearn.patch.errors import AdapterError
from hivelearn.patch.safetensors_header import allowed

# Parts that wrappers add, at any depth. None is a module's own: all begin with an underscore.
_WRAPPERS: Final = frozenset(
    {
        "_orig_mod",  # torch.compile, of the whole or of a layer
        "_fsdp_wrapped_module",  # torch's FSDP
        "_checkpoint_wrapped_module",  # its activation checkpointing
        "_fpw_module",  # fairscale
        "_forward_module",  # Lightning Fabric
    }
)
_ENGINE: Final = "module"  # DDP, DataParallel, DeepSpeed: outside of everything else
_PEFT: Final = ["base_model", "model"]  # PeftModel, LoraModel
_KEY: Final = re.compile(
    r"(?P<path>.+)\.lora_(?P<factor>[AB])(?:\.(?P<adapter>[^.]+))?\.weight", re.DOTALL
)
# Parts by which classes and versions spell one language model differently.
_CONTAINERS: Final = frozenset(
    "base_model language_model llm model text_model thinker transformer".split()
)
_RENAMED: Final = {"block_sparse_moe": "mlp"}  # Mixtral's, since transformers 5
_SHOWN: Final = 100  # characters of a stranger's key

KeysByModule = dict[str, dict[str, str]]  # module -> {"A": key, "B": key}


def unwrapped(path: str) -> str:
    """Return what a module is called in the model that PEFT wrapped.

    What stands before PEFT's own prefix names where the wrapped model sits in a larger one
    (``thinker.base_model.model.…``), and PEFT's own folder of it would not say it either.
    """
    parts = [part for part in path.split(".") if part not in _WRAPPERS]
    for at in range(len(parts) - 2, -1, -1):
        if parts[at : at + 2] == _PEFT:
            return ".".join(parts[at + 2 :])
    while parts[:1] == [_ENGINE]:
        del parts[0]
    return ".".join(parts)


def factor_keys(keys: Iterable[str]) -> KeysByModule:
    """Return where the factors of each module lie, sorted by module.

    Args:
        keys: all tensors of a file; PEFT writes ``base_model.model.<module>.lora_A.weight``.

    Raises:
        AdapterError: a tensor that is no LoRA factor, lacks its partner, or is a module's second.
    """
    found: KeysByModule = {}
    adapters = set()
    for name in sorted(keys):
        match = _KEY.fullmatch(name)
        module = unwrapped(match["path"]) if match else ""
        if match is None:
            raise _foreign(name)
        if not allowed(module):
            raise AdapterError(
                f"{module[:_SHOWN]!r} cannot be the target of a LoRA",
                remedy="Leave out the adapter that names it, or save it anew from its model.",
            )
        adapters.add(match["adapter"])
        pair = found.setdefault(module, {})
        if match["factor"] in pair:
            raise _second(module, pair[match["factor"]], name, adapters)
        pair[match["factor"]] = name
    for module, pair in found.items():
        if len(pair) == 1:
            (alone,) = pair.values()
            raise AdapterError(
                f"the weights hold {alone[:_SHOWN]!r} without its partner in {module}",
                remedy="Save the adapter again: part of it is missing.",
            )
    return dict(sorted(found.items()))


def _second(module: str, first: str, second: str, adapters: set[str | None]) -> AdapterError:
    """Return the error for two tensors that are one factor of one module."""
    names = sorted(name for name in adapters if name)
    if len(names) > 1:
        return AdapterError(
            f"the weights hold {len(names)} adapters: {', '.join(names)[:_SHOWN]}",
            remedy="Save one of them: model.save_pretrained(folder, selected_adapters=[...]), or "
            "hl.Adapter.from_model(model, adapter_name=...).save(folder).",
        )
    return AdapterError(
        f"{first[:_SHOWN]!r} and {second[:_SHOWN]!r} are both a factor of {module}",
        remedy="Save the adapter again from its model, each module once.",
    )


def _foreign(name: str) -> AdapterError:
    """Return the error for a tensor that is no factor, with what to do about its kind."""
    if name.endswith(".base_layer.weight") or "lora_embedding_" in name:
        return AdapterError(
            f"the weights hold {name[:_SHOWN]!r}, of an embedding or an output layer",
            remedy="Save it with save_embedding_layers=False; a LoRA on the embedding itself "
            "has no place in a merge of linear layers.",
        )
    if re.search(r"lora_?\.?(down|up|a|b)\b", name):
        return AdapterError(
            f"the weights hold {name[:_SHOWN]!r}, which another tool than PEFT named",
            remedy="Convert them to PEFT's names with the tool that wrote them: "
            "base_model.model.<module>.lora_A.weight and .lora_B.weight.",
        )
    return AdapterError(
        f"the weights hold {name[:_SHOWN]!r}, which is no LoRA factor",
        remedy="Save the adapter alone with PEFT's save_pretrained: a plain LoRA, without "
        "modules_to_save and without the model's own weights.",
    )


def core(module: str) -> str:
    """Return ``module`` less the parts that classes and versions of one model spell differently."""
    parts = [_RENAMED.get(part, part) for part in module.split(".")]
    return ".".join(part for part in parts if part not in _CONTAINERS)


def tails(module: str) -> list[str]:
    """Return what ``module`` may be called by whoever opened an inner part of its model.

    ``bert.encoder.layer.0.query`` has the tail ``encoder.layer.0.query``.
    """
    parts = module.split(".")
    return [".".join(parts[n:]) for n in range(1, len(parts))]
