"""Every merge method by name. A new one is a pure function and a row here.

Where a name is also mergekit's, the arithmetic on dense deltas is mergekit's too
(0.1.5; the tests compare), but for what the function's docstring names.
"""

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from typing import Final

from hivelearn.merging.errors import MergeError
from hivelearn.merging.recipe.operator import Operator, Param
from hivelearn.printable import shown

HOSTILE_SHARE: Final = 0.45  # of all trust, that the robust methods take for hostile
_TINY: Final = 1e-6  # the smallest number above 0 that a recipe can hold
_LAM: Final = Param("lam", 1.0, -1_000.0, 1_000.0)
_T: Final = Param("t", None, 0.0, 1.0)
_HOSTILE: Final = Param("hostile", None, 0.0, 255.0, whole=True)
_ROUNDS: Final = Param("rounds", 500.0, 1.0, 10_000.0, whole=True)
_RADIUS: Final = Param("radius", 1.0, _TINY, 1_000.0)
_PHI: Final = Param("phi", HOSTILE_SHARE, 0.0, 0.499999)
_DENSITY: Final = Param("density", 0.2, _TINY, 1.0, each=True)  # the TIES paper's top 20 %
_HALF: Final = Param("density", 0.5, _TINY, 1.0, each=True)
_GAMMA: Final = Param("gamma", 0.01, 0.0, 1.0, each=True)
_EPSILON: Final = Param("epsilon", 0.15, 0.0, 0.5, each=True)
_RESCALE: Final = Param("rescale", "probability", choices=("probability", "l1", "none"))
_UNSCALED: Final = Param("rescale", "none", choices=("none", "l1"))
_TOPK: Final = Param("select_topk", 1.0, _TINY, 1.0)
_AGREE: Final = Param("normalize", True)  # noqa: FBT003 - a default, named by its parameter
_SUM: Final = Param("normalize", False)  # noqa: FBT003

_GEOMETRY: Final = "hivelearn.merging.methods.geometry"
_ROBUST: Final = "hivelearn.merging.methods.robust"
_MEDIAN: Final = "hivelearn.merging.methods.median"
_KRUM: Final = "hivelearn.merging.methods.krum"
_SHARED_A: Final = "hivelearn.merging.methods.shared_a"
_SCE: Final = "hivelearn.merging.methods.sce"
_ISOTROPIC: Final = "hivelearn.merging.methods.isotropic"
_SPARSE: Final = "hivelearn.merging.methods.sparse"


def _sparse(name: str, source: str, *params: Param, draws: bool = False) -> tuple[Operator, ...]:
    """Return the rows of an entrywise method: on whole deltas, and in their joint core."""
    stream = Operator(name, "stream", _SPARSE, name, source, params, normalizes=False, draws=draws)
    # A stranger of any weight turns the joint basis, and with it every entry.
    return stream, replace(stream, name=f"core_{name}", kind="core", by_weight=False)


def _energies(name: str, source: str, *params: Param) -> tuple[Operator, ...]:
    """Return the rows of SCE, whose shares are energies: a small weight may stand alone."""
    return tuple(
        replace(row, home=_SCE, normalizes=True, by_weight=False)
        for row in _sparse(name, source, *params)
    )


_ROWS: Final = (
    # coefficients: from the Gram matrix, the merge is a weighted sum
    Operator("linear", "coefficients", _GEOMETRY, "linear", "arXiv:2203.05482", gram=False),
    Operator("task_arithmetic", "coefficients", _GEOMETRY, "task_arithmetic", "arXiv:2212.04089",
             (_LAM,), normalizes=False, gram=False),
    Operator("slerp", "coefficients", _GEOMETRY, "slerp", "Shoemake 1985", (_T,), rows_min=2,
             rows_max=2),
    Operator("nuslerp", "coefficients", _GEOMETRY, "nuslerp", "mergekit", rows_min=2, rows_max=2),
    Operator("multislerp", "coefficients", _GEOMETRY, "multislerp", "mergekit"),
    Operator("karcher", "coefficients", _GEOMETRY, "karcher", "arXiv:2603.04972", (_ROUNDS,)),
    Operator("model_stock", "coefficients", _GEOMETRY, "model_stock", "arXiv:2403.19522",
             by_weight=False),
    # ... and by distrust: the whole adapter is one vector
    Operator("geometric_median", "coefficients", _MEDIAN, "geometric_median", "arXiv:1912.13445",
             (_ROUNDS,), scope="adapter", tolerates=0.49),
    Operator("centred_clip", "coefficients", _ROBUST, "centred_clip", "arXiv:2012.10333",
             (_RADIUS, _ROUNDS), scope="adapter", tolerates=0.49),
    Operator("krum", "coefficients", _KRUM, "krum", "NeurIPS 2017", (_HOSTILE,), scope="adapter",
             by_weight=False),
    Operator("multi_krum", "coefficients", _KRUM, "multi_krum", "NeurIPS 2017", (_HOSTILE,),
             scope="adapter", by_weight=False),
    Operator("nnm", "coefficients", _ROBUST, "nnm", "arXiv:2302.01772", (_PHI,), scope="adapter"),
    Operator("monna", "coefficients", _ROBUST, "monna", "arXiv:2210.00325", (_PHI,),
             scope="adapter", by_weight=False),
    Operator("robust", "coefficients", _ROBUST, "robust", "ours", (_PHI,), scope="adapter",
             clips=True, tolerates=0.45),
    # stream and core: entry by entry
    *_sparse("ties", "arXiv:2306.01708", _DENSITY, _LAM, _AGREE),
    *_sparse("dare_linear", "arXiv:2311.03099", _HALF, _LAM, _SUM, _RESCALE, draws=True),
    *_sparse("dare_ties", "arXiv:2311.03099", _HALF, _LAM, _SUM, _RESCALE, draws=True),
    *_sparse("della", "arXiv:2406.11617", _HALF, _EPSILON, _LAM, _AGREE, _RESCALE, draws=True),
    *_sparse("della_linear", "arXiv:2406.11617", _HALF, _EPSILON, _LAM, _SUM, _RESCALE, draws=True),
    *_sparse("breadcrumbs", "arXiv:2312.06795", _HALF, _GAMMA, _LAM, _SUM, _UNSCALED),
    *_sparse("breadcrumbs_ties", "arXiv:2312.06795", _HALF, _GAMMA, _LAM, _SUM, _UNSCALED),
    *_sparse("magnitude_prune", "PEFT 0.21", _HALF, _LAM, _SUM, _UNSCALED),
    *_energies("sce", "arXiv:2408.07990", _TOPK, _LAM),
    Operator("iso_c", "core", _ISOTROPIC, "iso_c", "arXiv:2502.04959", (_LAM,),
             normalizes=False, by_weight=False),
    Operator("tsv", "core", _ISOTROPIC, "tsv", "arXiv:2412.00081", (_LAM,),
             normalizes=False, by_weight=False),
    # stack: the Bs of adapters that share one A
    Operator("shared_a", "stack", _SHARED_A, "shared_a", "arXiv:2403.12313"),
    Operator("shared_ties", "stack", _SHARED_A, "shared_ties", "arXiv:2306.01708",
             (_DENSITY, _LAM, _AGREE), normalizes=False),
    Operator("shared_dare_linear", "stack", _SHARED_A, "shared_dare_linear", "arXiv:2311.03099",
             (_HALF, _LAM, _SUM, _RESCALE), normalizes=False, draws=True),
    Operator("shared_dare_ties", "stack", _SHARED_A, "shared_dare_ties", "arXiv:2311.03099",
             (_HALF, _LAM, _SUM, _RESCALE), normalizes=False, draws=True),
)  # fmt: skip

TABLE: Final[dict[str, Operator]] = {row.name: row for row in _ROWS}


def operator(name: str) -> Operator:
    """Return the method called ``name``.

    Raises:
        MergeError: there is none of that name.
    """
    found = TABLE.get(name) if isinstance(name, str) else None
    if found is None:
        meant = closest(name, TABLE)
        raise MergeError(
            f"no merge method is called {shown(name)}",
            remedy=f"{f'Did you mean {meant}? ' if meant else ''}Use one of: {', '.join(TABLE)}.",
        )
    return found


def closest(name: object, known: Iterable[str]) -> str | None:
    """Return the known method that somebody meant who wrote ``name``, quoted, or None."""
    if not isinstance(name, str) or len(name) > 2 * max(map(len, TABLE)):
        return None
    written = name.strip().lower().replace("-", "_").replace(" ", "_")
    found = get_close_matches(written, sorted(known), n=1, cutoff=0.7)
    return repr(found[0]) if found else None
