"""How the losses of a training went, as lines over its steps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hivelearn.errors import UsageError
from hivelearn.report.canvas import new_axes, quiet, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OWN, _GENERAL, _WATCHED = "#0072B2", "#767676", "#D55E00"  # Okabe & Ito
_SHOWN_MAX: Final = 2_000  # points of a line; more are no finer on paper


def loss_curve(
    losses: Sequence[float],
    general: Sequence[float] = (),
    looks: Sequence[tuple[int, float]] = (),
    *,
    ax: "Axes | None" = None,
    title: str = "",
) -> "Axes":
    """Draw losses over steps.

    Args:
        losses: of the corrections, one a step.
        general: of what was rehearsed, one a step or none.
        looks: (steps made, loss) of the corrections that were watched.
        ax: where to draw; without it a new figure is made, reached by ``.figure``.
        title: above the figure.

    Raises:
        UsageError: no step was made, or matplotlib is not installed.
    """
    if not losses:
        raise UsageError("no step was made, so there is no curve", remedy="Train first.")
    ax = ax if ax is not None else new_axes(7.0, 4.0)
    if general:
        _line(ax, general, _GENERAL, "the base's own answers, rehearsed")
    _line(ax, losses, _OWN, "corrections")
    if looks:
        steps, values = zip(*looks, strict=True)
        ax.plot(steps, values, "o-", color=_WATCHED, label="corrections that are only watched")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("step")
    ax.set_ylabel("loss, nats per token")
    quiet(ax, along="y")
    ax.legend(frameon=False, fontsize=9)
    write_title(ax, title, 12)
    return ax


def _line(ax: "Axes", losses: Sequence[float], colour: str, label: str) -> None:
    every = max(1, len(losses) // _SHOWN_MAX)
    steps = range(1, len(losses) + 1, every)
    ax.plot(steps, losses[::every], color=colour, linewidth=1.4, label=label)
