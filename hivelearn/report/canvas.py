"""Where figures are drawn: on a canvas of their own.

No display is needed, and a program's pyplot state is neither read nor changed.
"""

from typing import TYPE_CHECKING, Literal

from hivelearn.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure on a canvas in memory, of a size in inches.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "figures need matplotlib, which is not installed",
            remedy="pip install 'hivelearn[plots]'",
        ) from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # pyplot never hears of it
    return figure


def new_axes(width: float, height: float) -> "Axes":
    """Return the only axes of a new figure."""
    axes: Axes = new_figure(width, height).add_subplot()
    return axes


def quiet(ax: "Axes", along: Literal["x", "y"]) -> None:
    """Leave of the frame only what a reader measures against."""
    ax.grid(axis=along, color="#DDDDDD", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
