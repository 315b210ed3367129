"""How the losses of a training went, step by step: plain numbers, for reports and figures."""

from dataclasses import dataclass, replace
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Curve:
    """Losses in nats per token."""

    losses: tuple[float, ...] = ()  # of the corrections of each step, before it
    general: tuple[float, ...] = ()  # of the rehearsed answers of each step; empty without any
    looks: tuple[tuple[int, float], ...] = ()  # (steps made, loss of what is watched)

    def after(self, loss: float, general: float | None) -> Self:
        """Return the curve with one step more."""
        more = self.general if general is None else (*self.general, general)
        return replace(self, losses=(*self.losses, loss), general=more)

    @classmethod
    def from_plain(cls, plain: Any, steps: int) -> Self:
        """Return the curve that ``dataclasses.asdict`` and JSON have made plain.

        Raises:
            KeyError, TypeError, ValueError: it is none, or not one of so many steps.
        """
        losses = tuple(float(loss) for loss in plain["losses"])
        general = tuple(float(loss) for loss in plain["general"])
        looks = tuple((int(step), float(loss)) for step, loss in plain["looks"])
        if len(losses) != steps or len(general) not in (0, steps):
            raise ValueError(f"a curve of {len(losses)} steps where {steps} were made")
        return cls(losses, general, looks)

    def plot(self, ax: Any = None, title: str = "") -> Any:
        """Draw the losses; needs ``hivelearn[plots]``."""
        from hivelearn.report.curve_figure import loss_curve

        return loss_curve(self.losses, self.general, self.looks, ax=ax, title=title)
