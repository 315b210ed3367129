"""What an adapter must be to travel as a patch, known before an hour of training is spent on it.

In hand an adapter may be larger: a stack grows, a LoRA from elsewhere has the rank that it has.
Whoever will seal one asks here first; sealing itself asks too.
"""

from typing import TYPE_CHECKING, Final

from hivelearn.errors import UsageError
from hivelearn.patch import safetensors_header as header
from hivelearn.patch.adapter_spec import ADAPTER_LAYERS_MAX, ADAPTER_TARGETS_MAX
from hivelearn.patch.limits import PATCH_RANK_MAX

if TYPE_CHECKING:
    from hivelearn.patch.adapter import Adapter

_FEWER: Final = "Train fewer modules: name them in target_modules, or in the recipe's targets."


class UnsealableError(UsageError):
    """This adapter can be used and merged here, and is too large to travel."""

    remedy = _FEWER


def refuse_unsealable(adapter: "Adapter") -> None:
    """Raise UnsealableError unless ``adapter`` keeps all limits of a patch.

    Only its shapes and names are looked at, so one that has not been trained is judged as it
    will be afterwards.
    """
    if adapter.rank > PATCH_RANK_MAX:
        raise UnsealableError(
            f"the adapter has rank {adapter.rank}, and a patch at most {PATCH_RANK_MAX}",
            remedy=f"Train with r={PATCH_RANK_MAX} or less; one that is trained already is cut "
            f"to the best of that rank by hl.merge([adapter], rank={PATCH_RANK_MAX}).",
        )
    shapes = {
        header.key(module, factor): (tensor.shape[0], tensor.shape[1])
        for module, pair in adapter.factors.items()
        for factor, tensor in zip("AB", pair, strict=True)
    }
    head = len(header.write(shapes, adapter.dtype))
    if head > header.HEADER_MAX_BYTES:
        raise UnsealableError(
            f"the names of its {len(adapter.factors)} modules take {head} bytes, and a patch has "
            f"at most {header.HEADER_MAX_BYTES} for them"
        )
    if head + adapter.nbytes > header.PAYLOAD_MAX_BYTES:
        raise UnsealableError(
            f"the adapter has {(head + adapter.nbytes) >> 20} MiB, and a patch at most "
            f"{header.PAYLOAD_MAX_BYTES >> 20}",
            remedy="Train with a lower rank, or fewer modules; or keep it in bfloat16: "
            "hl.merge([adapter], dtype='bfloat16').",
        )
    for what, count, most in (
        ("kinds of modules", len(adapter.targets), ADAPTER_TARGETS_MAX),
        ("layers", len(adapter.layers), ADAPTER_LAYERS_MAX),
    ):
        if count > most:
            raise UnsealableError(f"the adapter has {count} {what}, and a patch at most {most}")
