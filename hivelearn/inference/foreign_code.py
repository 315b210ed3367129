"""What a model's folder would have this machine run or fetch, refused before transformers sees it.

A model is numbers and a description, yet its folder can ask for more: ``auto_map``
names Python files beside the weights, pickled weights are programs, an attention
kernel comes from somebody's repository, and ``adapter_config.json`` sends
transformers to another model. Whoever trusts the code of a folder says so with
``trust_remote_code``; nobody is ever asked on a terminal, where a service would
wait for ever and a person say yes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hivelearn.inference.errors import NoModelError

_PICKLED: Final = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
_DESCRIPTIONS: Final = ("config.json", "tokenizer_config.json")
# Settings that may name a repository whose compiled kernels transformers would fetch and run.
_KERNELS: Final = ("attn_implementation", "_attn_implementation", "experts_implementation")
JSON_MAX_BYTES: Final = 16 << 20  # a configuration is some kilobytes, a tokenizer's a megabyte


class ForeignCodeError(NoModelError):
    """The folder would run code that came with it."""

    def __init__(self, folder: Path, what: str) -> None:
        self.folder = folder
        super().__init__(
            f"{folder} {what}, which would run with your rights",
            remedy="Take a model that transformers knows by itself; or read that code, and if you "
            "trust it: hl.Node(..., trust_remote_code=True), --trust-remote-code.",
        )


class PickledWeightsError(NoModelError):
    """The weights are a pickle, which is a program."""

    remedy = (
        "Take the model's safetensors; or, where you trust the file, open it yourself and give "
        "the open model: hl.Node(model, tokenizer=tokenizer)."
    )


def refuse_foreign(folder: Path, *, trusted: bool) -> None:
    """Raise NoModelError if opening ``folder`` would run or fetch what the user did not name.

    Args:
        folder: of a model.
        trusted: the user has read its code, and said so.
    """
    if (folder / "adapter_config.json").exists():
        raise NoModelError(
            f"{folder} holds a LoRA adapter, which would open another model",
            remedy="Open its base model, and adopt the adapter: "
            "node.adopt(node.seal(hl.Adapter.load(folder), domain=...)).",
        )
    _refuse_other_names(folder)
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled and not any(folder.glob("*.safetensors")):
        raise PickledWeightsError(
            f"{folder} holds pickled weights ({pickled[0]}), which can run code"
        )
    if trusted:
        return
    for name in _DESCRIPTIONS:
        said = read_object(folder / name)
        for setting in _KERNELS:
            value = said.get(setting)
            if any(
                "/" in str(each)
                for each in (value.values() if isinstance(value, dict) else [value])
            ):
                raise ForeignCodeError(folder, f"asks for the kernel {value!r:.80}")


def _refuse_other_names(folder: Path) -> None:
    """Refuse weights that the folder names itself, unless they are safetensors inside it."""
    named = []
    for index in sorted(folder.glob("*.index.json")):
        files = read_object(index).get("weight_map")
        named += list(files.values()) if isinstance(files, Mapping) else [files]
    named.append(read_object(folder / "config.json").get("transformers_weights"))
    for name in named:
        if name is None:
            continue
        if not isinstance(name, str) or not name.endswith(".safetensors"):
            raise PickledWeightsError(
                f"{folder} names {name!r:.80} as weights, which is no safetensors file, "
                "and can run code"
            )
        if "/" in name or "\\" in name:
            raise NoModelError(
                f"{folder} names weights outside itself: {name!r:.80}",
                remedy="Put all files of the model into one folder.",
            )


def code_of(folder: Path) -> str | None:
    """Return the code that ``folder`` brings, in words for a message; None if it brings none."""
    for name in _DESCRIPTIONS:
        named = read_object(folder / name).get("auto_map")
        if named:
            first = next(iter(named.values())) if isinstance(named, Mapping) else named
            return f"brings its own code ({first!r:.80} in {name})"
    return None


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a model's file; empty where there is none.

    Raises:
        NoModelError: it is there, and no JSON object, or longer than any configuration.
    """
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            raw = file.read(JSON_MAX_BYTES + 1)
        if len(raw) > JSON_MAX_BYTES:
            raise ValueError(f"longer than {JSON_MAX_BYTES} bytes")  # noqa: TRY301
        found = json.loads(raw)
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise NoModelError(f"{path} cannot be read: {reason}") from None
    if not isinstance(found, dict):
        raise NoModelError(f"{path} is no JSON object")
    return found
