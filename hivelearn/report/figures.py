"""What an exchange changed as bars, and what a merge gained as intervals.

matplotlib comes with the extra ``hivelearn[plots]`` and loads on the first figure.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict

from hivelearn.errors import UsageError
from hivelearn.report.canvas import in_lines, new_axes, new_figure, quiet, write_title
from hivelearn.report.interval import number_text, percent_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours: told apart with any colour vision, and as greys by lightness.
STAGES: Final = (
    ("before", "before", "#C4C4C4"),
    ("after_training", "after own training", "#E69F00"),
    ("after_exchange", "after the exchange", "#0072B2"),
)
_BAR: Final = 0.27  # of the distance between two groups
_NODE_GAP: Final = 0.7
_GROUP_INCHES: Final = 0.72  # for the name of a domain, less than the way to the next
_LABEL_POINTS: Final = 9
_WIDE: Final = 9.0  # inches: the whole legend in one line
_NAME_INCHES: Final = 2.5  # for the name of a gain
_BAND: Final = "#F3EBD8"  # behind the domain that a node's own expert taught
_BETTER, _UNSURE, _WORSE = "#0072B2", "#767676", "#D55E00"
TITLE: Final = "Exact answers to questions that nobody's corrections hold"
BASE_TASKS: Final = "base tasks"


class Score(TypedDict):
    """One cell of the demo: share of exact answers in [0, 1], loss in nats per token."""

    exact: float | None
    loss: NotRequired[float | None]


class Cell(TypedDict):
    """One node and domain at three stages; a row of the base's own tasks names no domain."""

    node: str
    domain: NotRequired[str]
    own: NotRequired[bool]
    before: Score
    after_training: Score
    after_exchange: Score


def exact_match(
    rows: Sequence[Cell],
    retention: Sequence[Cell] = (),
    *,
    ax: "Axes | None" = None,
    title: str = TITLE,
) -> "Axes":
    """Draw exact match per node and domain, before, after training, after the exchange.

    Nodes and domains stand in order of first appearance; a node's own domain
    lies on a band and its name is bold. What is None has no bar, but a dash.

    Args:
        rows: the ``rows`` of the demo's JSON.
        retention: the ``retention`` of it: each node on the base's own tasks.
        ax: where to draw; without it a new figure is made, reached by ``.figure``.
        title: above the figure.

    Raises:
        UsageError: nothing to draw, or matplotlib is not installed.
    """
    if not rows:
        raise UsageError("no rows to draw", remedy="Run the demo first: hivelearn demo --json FILE")
    groups = _groups(rows, retention)
    figure = new_figure(max(6.0, 0.92 * len(groups)), 4.6) if ax is None else None
    ax = figure.add_subplot() if figure is not None else ax
    assert ax is not None
    for at, cell in groups:
        _draw_group(ax, at, cell)
    node_lines = _name_nodes(ax, groups)
    labels = [_label(cell) for _, cell in groups]
    ax.set_xticks([at for at, _ in groups], labels)
    for text, (_, cell) in zip(ax.get_xticklabels(), groups, strict=True):
        text.set_parse_math(False)  # a name with two dollar signs is no formula
        text.set_fontweight("bold" if cell.get("own") else "normal")
    ax.tick_params(axis="x", length=0, labelsize=_LABEL_POINTS)
    ax.set_xlim(groups[0][0] - 0.7, groups[-1][0] + 0.7)
    ax.set_ylim(0, 109)
    ax.set_yticks(range(0, 101, 25), [f"{percent} %" for percent in range(0, 101, 25)])
    quiet(ax, along="y")
    write_title(ax, title, 13, pad=12 + 14 * node_lines)
    _explain(ax, figure)
    return ax


def save_exact_match(
    path: Path, rows: Sequence[Cell], retention: Sequence[Cell] = (), *, title: str = TITLE
) -> Path:
    """Write the figure of :func:`exact_match` as a PNG and return where it lies."""
    figure: Any = exact_match(rows, retention, title=title).figure
    figure.savefig(path, format="png", dpi=144)
    return path


def gains(
    rows: Sequence[tuple[str, float, float, float]],
    *,
    ax: "Axes | None" = None,
    title: str = "",
    unit: str = "nats per answer token",
) -> "Axes":
    """Draw gains with their intervals, one line each, first row on top.

    Blue lies wholly above zero, vermilion wholly below, grey holds zero.

    Args:
        rows: (name, mean, low, high), measured ones only.
        ax: where to draw; without it a new figure is made, reached by ``.figure``.
        title: above the figure.
        unit: of the three numbers.

    Raises:
        UsageError: no rows, or matplotlib is not installed.
    """
    if not rows:
        raise UsageError(
            "no gain was measured here, so there is none to draw",
            remedy="Correct more answers in this domain: judging needs held-out questions.",
        )
    ax = ax if ax is not None else new_axes(7.0, 1.3 + 0.42 * len(rows))
    for at, (_, mean, low, high) in enumerate(rows):
        colour = _BETTER if low > 0 else _WORSE if high < 0 else _UNSURE
        ax.plot([low, high], [at, at], color=colour, linewidth=2.5, solid_capstyle="butt")
        ax.plot(mean, at, "o", color=colour)
        ax.annotate(
            number_text(mean, signed=True),
            (mean, at),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    ax.axvline(0, color="#444444", linewidth=0.8)
    ax.set_yticks(range(len(rows)), [in_lines(name, _NAME_INCHES, 10) for name, *_ in rows])
    for text in ax.get_yticklabels():
        text.set_parse_math(False)
    ax.set_ylim(len(rows) - 0.5, -0.7)
    ax.set_xlabel(f"gain in {unit}; right of zero is better")
    quiet(ax, along="x")
    write_title(ax, title, 12, beside=_NAME_INCHES + 0.5)
    return ax


def _groups(rows: Sequence[Cell], retention: Sequence[Cell]) -> list[tuple[float, Cell]]:
    """Return each group with its place: nodes apart, base tasks last within each node."""
    cells = (*rows, *retention)
    nodes = list(dict.fromkeys(cell["node"] for cell in cells))
    ordered = sorted(cells, key=lambda cell: nodes.index(cell["node"]))  # stable
    return [(n + _NODE_GAP * nodes.index(cell["node"]), cell) for n, cell in enumerate(ordered)]


def _label(cell: Cell) -> str:
    name = in_lines(cell.get("domain", BASE_TASKS), _GROUP_INCHES, _LABEL_POINTS)
    return f"{name}\n(own)" if cell.get("own") else name


def _draw_group(ax: "Axes", at: float, cell: Cell) -> None:
    if cell.get("own"):
        ax.axvspan(at - 0.5, at + 0.5, color=_BAND, zorder=0)
    scores = (cell["before"], cell["after_training"], cell["after_exchange"])
    for n, (score, (_, _, colour)) in enumerate(zip(scores, STAGES, strict=True)):
        x, exact = at + (n - 1) * _BAR, score["exact"]
        ax.bar(x, 0 if exact is None else 100 * exact, _BAR * 0.92, color=colour)
        text = "–" if exact is None else percent_text(exact).removesuffix(" %")
        height = 0 if exact is None else 100 * exact
        ax.text(x, height + 1.2, text, ha="center", va="bottom", fontsize=7, color="#444444")


def _name_nodes(ax: "Axes", groups: Sequence[tuple[float, Cell]]) -> int:
    """Write each node's name above its groups; return the lines of the longest."""
    lines = 1
    for node in dict.fromkeys(cell["node"] for _, cell in groups):
        places = [at for at, cell in groups if cell["node"] == node]
        ax.plot([places[0] - 0.45, places[-1] + 0.45], [109, 109], color="#888888", clip_on=False)
        middle = (places[0] + places[-1]) / 2
        name = in_lines(node, len(places) * _GROUP_INCHES, 10)
        lines = max(lines, name.count("\n") + 1)
        text = ax.text(middle, 111, name, ha="center", va="bottom", fontsize=10)
        text.set_parse_math(False)
    return lines


def _explain(ax: "Axes", figure: "Figure | None") -> None:
    """Tell the colours: below the figure that is ours, or below axes that are somebody else's."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=label) for _, label, colour in STAGES]
    handles.append(Patch(color=_BAND, label="taught by the node's own expert"))
    if figure is None:
        place = {"loc": "upper left", "bbox_to_anchor": (0, -0.14), "borderaxespad": 0}
        ax.legend(handles=handles, ncols=4, frameon=False, fontsize=9, **place)
    else:
        columns = 4 if figure.get_figwidth() >= _WIDE else 2
        figure.legend(
            handles=handles, loc="outside lower left", ncols=columns, frameon=False, fontsize=9
        )
