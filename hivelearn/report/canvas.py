"""Where figures are drawn: on a canvas of their own.

No display is needed, and a program's pyplot state is neither read nor changed.
"""

import textwrap
from typing import TYPE_CHECKING, Literal

from hivelearn.errors import UsageError
from hivelearn.printable import printable

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


def in_lines(text: str, inches: float, points: float) -> str:
    """Return ``text`` in lines that fit a width, so that no figure cuts or overlaps it.

    Args:
        text: printable or not.
        inches: the room for it.
        points: size of its letters, which are .6 as wide on an average.
    """
    letters = max(1, int(inches * 72 / (0.6 * points)))
    return "\n".join(textwrap.wrap(printable(text), letters))


def write_title(
    ax: "Axes", title: str, points: float, *, beside: float = 1.0, pad: float = 6.0
) -> None:
    """Write ``title`` above ``ax``, in as many lines as its figure asks for.

    Args:
        ax: the only one in its row.
        title: printable or not.
        points: size of its letters.
        beside: inches of the figure's width that labels take.
        pad: points between title and axes.
    """
    told = in_lines(title, ax.figure.get_figure(root=True).get_figwidth() - beside, points)
    ax.set_title(told, loc="left", fontsize=points, pad=pad, parse_math=False)


def quiet(ax: "Axes", along: Literal["x", "y"]) -> None:
    """Leave of the frame only what a reader measures against."""
    ax.grid(axis=along, color="#DDDDDD", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
