"""What a merge refuses: these adapters, or these settings."""

from collections.abc import Sequence

from hivelearn.errors import UsageError


class MergeError(UsageError):
    """These adapters, or these settings, cannot be merged.

    A method counts the deltas it was given and knows neither their names nor the
    module; who knows them has the error told again by :meth:`located`.

    Attributes:
        delta: place of the guilty delta among those that the method was given, or None.
        module: where, if the message already says so; or None.
    """

    remedy = "Leave out the adapter or setting that the message names, then merge again."

    def __init__(
        self,
        problem: str,
        *,
        remedy: str | None = None,
        delta: int | None = None,
        module: str | None = None,
    ) -> None:
        """Compose the message.

        Args:
            problem: what is wrong; with ``delta``, what follows its name in the sentence.
            remedy: as everywhere.
            delta: see the attribute.
            module: see the attribute; ``problem`` names it.
        """
        super().__init__(problem if delta is None else f"delta {delta} {problem}", remedy=remedy)
        self.problem, self.delta, self.module = problem, delta, module

    def located(self, module: str | None, names: Sequence[str]) -> "MergeError":
        """Return this error told of a module and, by name, of the guilty adapter.

        Args:
            module: where it happened, or None if it is about whole adapters.
            names: of the adapters whose deltas the method was given, in its order.
        """
        who = "" if self.delta is None else f"{names[self.delta]} "
        where = "" if module is None or self.module is not None else f"{module}: "
        return MergeError(
            f"{where}{who}{self.problem}", remedy=self.remedy, module=self.module or module
        )
