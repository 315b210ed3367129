"""What keeps a merged delta out of a model's weight, whether it is open or on disk."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.patch.module_names import unwrapped

_ANOTHER = "Merge into the model that the adapters were trained on."


def refuse_misfit(module: str, found: Sequence[int], wanted: tuple[int, int]) -> None:
    """Refuse a weight that is ``found`` (d_out, d_in) where the adapters' is ``wanted``."""
    if tuple(found) != wanted:
        raise MergeError(
            f"{module} is {' x '.join(map(str, wanted))} in the adapters and "
            f"{' x '.join(map(str, found))} in the model",
            remedy=_ANOTHER,
        )


def refuse_shared(model: Any, modules: Sequence[str]) -> None:
    """Refuse modules whose weight is another's too: what is added here would act there."""
    weights = model.named_parameters(remove_duplicate=False)
    names = {unwrapped(name): _place_of(weight) for name, weight in weights}
    times = Counter(names.values())
    for module in modules:
        place = names.get(f"{module}.weight")
        if place is not None and times[place] > 1:
            other = next(n for n, at in names.items() if at == place and n != f"{module}.weight")
            raise MergeError(
                f"{module} shares its weight with {other.removesuffix('.weight')}, which would "
                "change with it",
                remedy="Leave that module out of the adapters, or keep the merge as an adapter.",
            )


def _place_of(weight: Tensor) -> int:
    # Two parameters may be tied by their numbers; on meta and in other libraries' classes
    # there is nothing to point to.
    plain = type(weight.data) is Tensor and not weight.is_meta
    return weight.data_ptr() if plain else id(weight)


def is_transposed(module: Any) -> bool:
    """Return whether a module keeps its weight as (d_in, d_out)."""
    return type(module).__name__ == "Conv1D"  # GPT-2's


def unknown(module: str) -> MergeError:
    """Return the error for a module that the model does not have."""
    return MergeError(
        f"the model has no weight for {module}",
        remedy=_ANOTHER,
    )


def quantised(module: str) -> MergeError:
    """Return the error for a weight whose type no delta fits."""
    return MergeError(
        f"{module} is quantised in the model, and a delta would be lost in its steps",
        remedy="Give the checkpoint in float32, bfloat16 or float16.",
    )
