"""A merge in three pictures: how alike its sources are, how large, how much each counts."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from hivelearn.errors import UsageError
from hivelearn.report.canvas import in_lines, new_figure, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito's colours, without the yellow that white swallows; they repeat after seven.
_COLOURS: Final = "#0072B2 #E69F00 #009E73 #CC79A7 #56B4E9 #D55E00 #767676".split()
_MERGED: Final = "#000000"
_NUMBERS_MAX: Final = 8  # sources up to which the cosines stand in the cells
_NAMED_MAX: Final = 12  # curves up to which a legend names them
_DARK: Final = 0.6  # cosine from which a cell is dark and its number white


class _Merge(Protocol):
    """What is drawn of a merge; see :class:`hivelearn.report.merge_report.MergeReport`."""

    @property
    def method(self) -> str: ...
    @property
    def sources(self) -> tuple[str, ...]: ...
    @property
    def weights(self) -> tuple[float, ...]: ...
    @property
    def coefficients(self) -> Mapping[str, tuple[float, ...]]: ...
    @property
    def cosines(self) -> tuple[tuple[float, ...], ...]: ...
    @property
    def norms(self) -> Mapping[str, tuple[float, ...]]: ...
    @property
    def merged(self) -> Mapping[str, float]: ...


def draw(report: _Merge) -> "Axes":
    """Draw cosines between the sources, norms by layer, and coefficients.

    Returns:
        The first of three axes; ``.figure`` is the whole.

    Raises:
        UsageError: the sources were not looked at, or matplotlib is not installed.
    """
    if not report.cosines:
        raise UsageError(
            "this merge did not look at its sources, so there is nothing to draw",
            remedy="Merge with hl.merge(sources, ..., report=True); it studies them first.",
        )
    figure = new_figure(13.0, 4.2)
    first, second, third = figure.subplots(1, 3)
    _cosines(first, report)
    _norms(second, report)
    _coefficients(third, report)
    figure.suptitle(f"merge by {report.method}", x=0.01, ha="left", fontsize=13)
    return first  # type: ignore[no-any-return]


def save(path: Path, report: _Merge) -> Path:
    """Write the figure of :func:`draw` as a PNG and return where it lies."""
    figure: Any = draw(report).figure
    figure.savefig(path, format="png", dpi=144)
    return path


def _names(report: _Merge) -> list[str]:
    return [in_lines(name, 1.6, 8) for name in report.sources]


def _cosines(ax: "Axes", report: _Merge) -> None:
    count = len(report.sources)
    ax.imshow(report.cosines, vmin=-1.0, vmax=1.0, cmap="PuOr_r")
    for row, cosines in enumerate(report.cosines if count <= _NUMBERS_MAX else ()):
        for column, cosine in enumerate(cosines):
            colour = "white" if abs(cosine) > _DARK else "black"
            ax.text(column, row, f"{cosine:.2f}", ha="center", va="center", color=colour)
    names, places = _names(report), _some(range(count), 2 * _NUMBERS_MAX)
    ax.set_xticks(places, [names[n] for n in places], rotation=30, ha="right", fontsize=8)
    ax.set_yticks(places, [names[n] for n in places], fontsize=8)
    for text in (*ax.get_xticklabels(), *ax.get_yticklabels()):
        text.set_parse_math(False)
    ax.tick_params(length=0)
    ax.set_title("cosines between the sources", loc="left", fontsize=10)


def _norms(ax: "Axes", report: _Merge) -> None:
    layers: dict[int, list[str]] = {}
    for module in report.norms:
        number = next((int(part) for part in module.split(".") if part.isdigit()), None)
        if number is not None:  # an output layer stands in none
            layers.setdefault(number, []).append(module)
    places = sorted(layers)
    for n, name in enumerate(_names(report)):
        heights = [_length([report.norms[m][n] for m in layers[place]]) for place in places]
        colour = _COLOURS[n % len(_COLOURS)]
        ax.plot(places, heights, marker="o", markersize=3, color=colour, label=name)
    merged = [_length([report.merged[m] for m in layers[place]]) for place in places]
    ax.plot(places, merged, marker="s", markersize=4, color=_MERGED, linewidth=2, label="merged")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("layer")
    few = len(places) <= 2 * _NUMBERS_MAX
    ax.set_xticks(places if few else _some(places, _NUMBERS_MAX))
    quiet(ax, along="y")
    ax.set_title("norm of the delta by layer", loc="left", fontsize=10)
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) > _NAMED_MAX:  # the rest would hide the curves: all have their names beside
        handles, labels = handles[-1:], labels[-1:]
    for text in ax.legend(handles, labels, frameon=False, fontsize=7).get_texts():
        text.set_parse_math(False)


def _some(places: Sequence[int], most: int) -> list[int]:
    """Return at most so many of these places, at even steps."""
    return list(places[:: -(-len(places) // most) or 1])


def _length(norms: Sequence[float]) -> float:
    return math.hypot(*norms)


def _coefficients(ax: "Axes", report: _Merge) -> None:
    """Draw the mean over the modules, with whiskers from the least to the greatest."""
    weighted_sum = bool(report.coefficients)
    columns = list(zip(*report.coefficients.values(), strict=True)) or [
        (weight,) for weight in report.weights
    ]
    for n, column in enumerate(columns):
        mean = sum(column) / len(column)
        # A mean of equal numbers may miss them by a rounding; a whisker is never negative.
        whiskers = [[max(0.0, mean - min(column))], [max(0.0, max(column) - mean)]]
        colour = _COLOURS[n % len(_COLOURS)]
        ax.bar(n, mean, color=colour, yerr=whiskers, ecolor="#444444", capsize=3)
    names, places = _names(report), _some(range(len(columns)), 2 * _NUMBERS_MAX)
    ax.set_xticks(places, [names[n] for n in places], rotation=30, ha="right", fontsize=8)
    for text in ax.get_xticklabels():
        text.set_parse_math(False)
    ax.axhline(0, color="#444444", linewidth=0.8)
    quiet(ax, along="y")
    what = "coefficient of each delta" if weighted_sum else "weight of each source"
    ax.set_title(what, loc="left", fontsize=10)
