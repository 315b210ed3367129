"""Every setting of a node, in one frozen record with one line of reason each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from hivelearn.bounds import (
    FLAG,
    NONE,
    TEXT,
    Rule,
    a,
    check_arguments,
    check_names,
    check_record,
    real,
    whole,
)
from hivelearn.device.limits import COMFORT, SAFETY, DeviceLimits
from hivelearn.inference.engine_table import check_engine_options, engine_kind
from hivelearn.inference.sampling import SAMPLING
from hivelearn.training.recipe import Recipe
from hivelearn.trunk.settings import RoundSettings
from hivelearn.trust.weights import Caps

_LIMITS: Final = a(DeviceLimits, "a hivelearn.device.limits.DeviceLimits")
RULES: Final[Mapping[str, Rule]] = {
    "home": NONE | a(Path, "the path of a directory"),
    "engine": TEXT,
    "engine_options": NONE | Rule("a record of the engine's own", is_dataclass),
    "recipe": a(Recipe, "an hl.Recipe"),
    "safety": _LIMITS,
    "comfort": _LIMITS,
    "rounds": a(RoundSettings, "an hl.RoundSettings"),
    "caps": a(Caps, "caps of hivelearn.trust.weights"),
    "base_texts": whole(1),
    "training_memory_bytes": NONE | whole(1 << 20),
    "checkpoint_s": real(0, math.inf),
    "max_new_tokens": SAMPLING["max_new_tokens"],
    "patch_max_bytes": whole(1),
    "sandbox_max": whole(1),
    "sandbox_max_bytes": whole(1),
    "sandbox_per_author": whole(1),
    "sandbox_per_relay": whole(1),
    "strangers_per_merge": whole(0),
    "seed": whole(0),
    "progress": NONE | FLAG,
}


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """How a node behaves. Change a setting with ``hl.Node(..., setting=value)``."""

    home: Path | None = None  # None: $HIVELEARN_HOME, else the platform's data directory
    engine: str = "resident"  # what runs the model: a name in hivelearn.inference.engine_table
    engine_options: Any = None  # the engine's own record; by name: hl.Node(..., device="cpu")
    recipe: Recipe = field(default_factory=Recipe)  # of `train`
    safety: DeviceLimits = SAFETY  # what an explicit `train` obeys
    comfort: DeviceLimits = COMFORT  # what `live` obeys
    rounds: RoundSettings = field(default_factory=RoundSettings)  # with others, on one trunk
    caps: Caps = field(default_factory=Caps)  # how much of a merge anybody may move
    base_texts: int = 80  # general questions: half lower ceilings, half judge harm
    training_memory_bytes: int | None = None  # of one pass; None: 160 MiB, less if less is free
    checkpoint_s: float = 30.0  # a kill -9 costs at most so much training
    max_new_tokens: int = 128  # of one answer
    patch_max_bytes: int = 64 << 20  # larger offers are not fetched
    sandbox_max: int = 64  # patches of unknown authors, here and on their way
    sandbox_max_bytes: int = 1 << 30  # of disk, for all of them together
    sandbox_per_author: int = 8  # of those 64; five prove somebody
    sandbox_per_relay: int = 16  # of those 64 that one peer told of
    strangers_per_merge: int = 4  # of them a merge measures; 0: nobody unknown is measured
    seed: int = 0  # of bootstrap intervals and of the order of chunks
    progress: bool | None = None  # None: on a terminal and in Jupyter only

    def __new__(cls, *positional: object, **named: object) -> Self:
        """Refuse names that a node does not have, as all that is wrong with one is refused."""
        known = [field.name for field in fields(cls)]
        check_arguments(known, positional, named, what="a node")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        if isinstance(self.home, str) and self.home:  # as people write paths
            object.__setattr__(self, "home", Path(self.home))
        check_record(RULES, self)
        if self.engine_options is not None:
            check_engine_options(self.engine, self.engine_options)

    def with_settings(self, settings: dict[str, Any]) -> Self:
        """Return this configuration with some settings changed, or options of its engine.

        Raises:
            UsageError: a setting that neither the node nor its engine has.
        """
        own = {field.name for field in fields(self)}
        config = replace(self, **{name: settings[name] for name in settings.keys() & own})
        if stated := {name: settings[name] for name in settings.keys() - own}:
            kind = engine_kind(config.engine).options
            names = {field.name for field in fields(kind)}
            check_names(sorted(own | names), stated, what="a node")
            options = replace(config.engine_options or kind(), **stated)
            config = replace(config, engine_options=options)
        return config
