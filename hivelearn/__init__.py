"""Expert corrections become LoRA patches, patches travel, each node believes what it measured.

The names below are the public API; everything else may change. Each loads its
module on first use, so importing hivelearn is instant: it sets no environment
variable, starts no thread, prints nothing and loads no torch.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # type checkers read this half, the interpreter the other
    from hivelearn.device.governor import Governor as Governor
    from hivelearn.device.permit import Permit as Permit
    from hivelearn.device.reading import Reading as Reading
    from hivelearn.errors import DeviceError as DeviceError
    from hivelearn.errors import HivelearnError as HivelearnError
    from hivelearn.errors import PeerError as PeerError
    from hivelearn.errors import UsageError as UsageError
    from hivelearn.inference.route import Route as Route
    from hivelearn.integrations.transformers_trainer import SwarmCallback as SwarmCallback
    from hivelearn.merging.into_model import merge_into as merge_into
    from hivelearn.merging.merge import merge as merge
    from hivelearn.merging.recipe.recipe import MergeRecipe as MergeRecipe
    from hivelearn.merging.recipe.schedule import ByName as ByName
    from hivelearn.merging.recipe.schedule import Gradient as Gradient
    from hivelearn.merging.run.options import MergeOptions as MergeOptions
    from hivelearn.node.ask.answer import Answer as Answer
    from hivelearn.node.config import NodeConfig as NodeConfig
    from hivelearn.node.node import Node as Node
    from hivelearn.patch.adapter import Adapter as Adapter
    from hivelearn.patch.envelope import Patch as Patch
    from hivelearn.patch.notice import Notice as Notice
    from hivelearn.training.recipe import Recipe as Recipe
    from hivelearn.trunk.settings import RoundSettings as RoundSettings

    __version__: str

_HOME = {
    "Adapter": "hivelearn.patch.adapter",
    "Answer": "hivelearn.node.ask.answer",
    "ByName": "hivelearn.merging.recipe.schedule",
    "DeviceError": "hivelearn.errors",
    "Governor": "hivelearn.device.governor",
    "Gradient": "hivelearn.merging.recipe.schedule",
    "HivelearnError": "hivelearn.errors",
    "MergeRecipe": "hivelearn.merging.recipe.recipe",
    "Node": "hivelearn.node.node",
    "NodeConfig": "hivelearn.node.config",
    "Notice": "hivelearn.patch.notice",
    "Patch": "hivelearn.patch.envelope",
    "PeerError": "hivelearn.errors",
    "Permit": "hivelearn.device.permit",
    "Reading": "hivelearn.device.reading",
    "Recipe": "hivelearn.training.recipe",
    "RoundSettings": "hivelearn.trunk.settings",
    "Route": "hivelearn.inference.route",
    "SwarmCallback": "hivelearn.integrations.transformers_trainer",
    "UsageError": "hivelearn.errors",
    "MergeOptions": "hivelearn.merging.run.options",
    "merge": "hivelearn.merging.merge",
    "merge_into": "hivelearn.merging.into_model",
}

__all__ = [
    "Adapter",
    "Answer",
    "ByName",
    "DeviceError",
    "Governor",
    "Gradient",
    "HivelearnError",
    "MergeOptions",
    "MergeRecipe",
    "Node",
    "NodeConfig",
    "Notice",
    "Patch",
    "PeerError",
    "Permit",
    "Reading",
    "Recipe",
    "RoundSettings",
    "Route",
    "SwarmCallback",
    "UsageError",
    "__version__",
    "merge",
    "merge_into",
]

# A library leaves the choice of log handlers to the program that uses it.
logging.getLogger("hivelearn").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that importing hivelearn is instant."""
    if name == "__version__":
        from importlib.metadata import version  # 20 ms that most programs never need

        value: Any = version("hivelearn")
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'hivelearn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name the public API for completion, loaded or not."""
    return sorted(__all__)
