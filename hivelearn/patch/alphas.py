"""Which alpha a module has, where PEFT's configuration gives alphas by regular expressions.

The expressions come with the file, from whoever wrote it. Python's ``re`` can be kept
busy for ever by twenty characters, so they are matched by ``regex``, which also stops in
time: all expressions and modules together have one second. ``regex`` in turn takes for ever to
compile twenty nested repetitions, or one of a million, so what it compiles is short and flat,
repeats little by number, and is Python's own grammar. Most configurations need neither: their
expressions are names of modules, which are looked up.
"""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import regex

SECONDS_MAX: Final = 1.0  # 224 expressions on 224 modules take .1
RULES_MAX: Final = 512  # expressions that are no names; to compile one takes .2 ms
LENGTH_MAX: Final = 1_000  # characters of one expression
GROUPS_MAX: Final = 6  # one in another; every further one doubles the time to compile
COUNTED_MAX: Final = 2  # repetitions by number, which are written out when it is compiled
REPEATED_MAX: Final = 99
_COUNTED: Final = re.compile(r"\{[\d,\s]*\}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
Clock = Callable[[], float]
Rule = tuple[int, "regex.Pattern[str]", Any]  # place in the file, expression, alpha


class Alphas:
    """The alphas of one configuration.

    Raises:
        TypeError, AttributeError: ``alpha_pattern`` is no mapping of texts.
        ValueError: an expression is none, or too intricate; the message says which.
    """

    def __init__(self, config: Mapping[str, Any], clock: Clock = time.monotonic) -> None:
        """Read ``lora_alpha`` and ``alpha_pattern``, and let the time begin."""
        self._clock, self._end = clock, clock() + SECONDS_MAX
        self._default = config.get("lora_alpha", 8)
        self._names: dict[str, tuple[int, Any]] = {}  # expressions that are names of modules
        self._rules: list[Rule] = []
        for place, (pattern, value) in enumerate((config.get("alpha_pattern") or {}).items()):
            if _NAME.fullmatch(pattern):
                self._names[pattern] = place, value
            elif len(self._rules) == RULES_MAX:
                raise ValueError(f"more than {RULES_MAX} expressions that are no names")
            else:
                self._left()
                self._rules.append((place, _compiled(pattern), value))

    def of(self, module: str) -> Any:
        """Return what the first expression says that matches the end of the name, from a dot on.

        As PEFT 0.21 does it (``get_pattern_key``), but that a dot in a name is a dot.

        Raises:
            ValueError: the time is over.
        """
        parts = module.split(".")
        ends = (".".join(parts[first:]) for first in range(len(parts)))
        named = [self._names[end] for end in ends if end in self._names]
        found = min(named, key=lambda each: each[0], default=None)
        for place, pattern, value in self._rules:
            if found is not None and found[0] < place:
                break
            if self._matches(pattern, module):
                return value
        return self._default if found is None else found[1]

    def _matches(self, pattern: "regex.Pattern[str]", module: str) -> bool:
        try:
            return bool(pattern.match(module, timeout=self._left()))
        except TimeoutError:
            raise _endless() from None

    def _left(self) -> float:
        """Return the seconds that are left, which are some."""
        left_s = self._end - self._clock()
        if left_s <= 0.0:
            raise _endless()
        return left_s


def _endless() -> ValueError:
    return ValueError(f"the expressions in it take more than {SECONDS_MAX:g} s")


def _compiled(pattern: str) -> "regex.Pattern[str]":
    depth = deepest = 0
    for char in pattern[: LENGTH_MAX + 1]:
        depth += (char == "(") - (char == ")")
        deepest = max(deepest, depth)
    if len(pattern) > LENGTH_MAX or deepest > GROUPS_MAX:
        raise ValueError(f"the expression {pattern[:40]!r} is too long, or nested too deeply")
    counted = [int(n) for each in _COUNTED.findall(pattern) for n in re.findall(r"\d+", each)]
    if len(_COUNTED.findall(pattern)) > COUNTED_MAX or max(counted, default=0) > REPEATED_MAX:
        raise ValueError(
            f"the expression {pattern[:40]!r} repeats something more than {REPEATED_MAX} times, "
            f"or more than {COUNTED_MAX} things by number"
        )
    try:
        re.compile(pattern)  # in Python's grammar, which knows no expression that calls itself
        return regex.compile(rf"(.*\.)?({pattern})$")
    except (re.error, regex.error, RecursionError, OverflowError, MemoryError) as error:
        raise ValueError(f"{pattern[:40]!r} is no regular expression: {error}") from None
