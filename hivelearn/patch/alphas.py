"""Which alpha a module has, where PEFT's configuration gives alphas by regular expressions.

The expressions come with the file, from whoever wrote it. Python's ``re`` can be kept
busy for ever by twenty characters, so they are matched by ``regex``, which also stops in
time: all modules together have a few seconds.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import regex

SECONDS_MAX: Final = 5.0  # 224 expressions on 224 modules take .1
Clock = Callable[[], float]


class Alphas:
    """The alphas of one configuration.

    Raises:
        TypeError, AttributeError: ``alpha_pattern`` is no mapping of texts.
        ValueError: an expression is none; the message says which.
    """

    def __init__(self, config: Mapping[str, Any], clock: Clock = time.monotonic) -> None:
        """Read ``lora_alpha`` and ``alpha_pattern``, and let the time begin."""
        self._default = config.get("lora_alpha", 8)
        self._rules = [
            (_compiled(pattern), value)
            for pattern, value in (config.get("alpha_pattern") or {}).items()
        ]
        self._clock, self._end = clock, clock() + SECONDS_MAX

    def of(self, module: str) -> Any:
        """Return what the first expression says that matches the end of the name, from a dot on.

        As PEFT 0.21 does it (``get_pattern_key``).

        Raises:
            ValueError: the time is over.
        """
        for pattern, value in self._rules:
            if _matches(pattern, module, self._end - self._clock()):
                return value
        return self._default


def _matches(pattern: "regex.Pattern[str]", module: str, seconds: float) -> bool:
    try:
        if seconds > 0.0:
            return bool(pattern.match(module, timeout=seconds))
    except TimeoutError:
        pass
    raise ValueError(f"the expressions in it take more than {SECONDS_MAX:g} s")


def _compiled(pattern: str) -> "regex.Pattern[str]":
    try:
        return regex.compile(rf"(.*\.)?({pattern})$")
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern[:40]!r} is no regular expression: {error}") from None
