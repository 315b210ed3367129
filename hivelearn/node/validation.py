"""What callers of a node may give, by the argument's name; checked before anything happens.

Texts, domains and conversations are judged where they are read; here stands what
would otherwise fail deep inside, as a stranger's error.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from hivelearn import bounds
from hivelearn.bounds import FLAG, NONE, TEXT, Rule, a
from hivelearn.errors import UsageError
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.node.config import NodeConfig
from hivelearn.node.reports import RoundReport
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Patch
from hivelearn.training.recipe import RULES as SETTINGS
from hivelearn.training.recipe import Recipe


def _lists(given: object) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping)


# No bytes of a file or a wire hold half a surrogate, and a NUL ends what others read.
_NO_WORDS: Final = re.compile("[\0\ud800-\udfff]")
WORDS: Final = Rule(
    "text, without NUL and halves of characters",
    lambda given: isinstance(given, str) and _NO_WORDS.search(given) is None,
)

RULES: Final[Mapping[str, Rule]] = {
    "adapter": a(Adapter, "an hl.Adapter"),
    "recipe": NONE | a(Recipe, "an hl.Recipe"),
    "merge_recipe": NONE | a(MergeRecipe, "a recipe of hivelearn.merging.recipe.recipe"),
    "prompts": Rule("a list of prompts", _lists),
    "pairs": Rule("a list of (prompt, answer)", _lists),
    "experts": NONE | TEXT | Rule("a list of ids, as text", _lists),
    "what": a(RoundReport, "the report of node.merge(..., adopt=False)")
    | a(Patch, "an own patch, such as node.seal makes"),
    "note": WORDS,
    "adopt": FLAG,
    "licence": WORDS,
    "config": NONE | a(NodeConfig, "an hl.NodeConfig, or single settings by name"),
}


def check(**given: object) -> None:
    """Raise UsageError unless every argument is what its rule takes."""
    bounds.check({name: RULES[name] for name in given}, given)


def check_train(recipe: object, mistaken: Mapping[str, object]) -> None:
    """Raise UsageError unless a training was asked for as it must be: with a recipe, if any.

    Args:
        recipe: as given.
        mistaken: other arguments by name; those of a recipe belong into one.
    """
    check(recipe=recipe)
    if mistaken:
        name, value = next(iter(mistaken.items()))
        bounds.check_names(SETTINGS, [name], what="a recipe")
        raise UsageError(
            f"train takes no argument {name!r}: it is a setting of the recipe",
            remedy=f"Did you mean recipe=hl.Recipe({name}={value!r:.40})?",
        )
