"""The figures hold the numbers that they were given, and need no display."""

import subprocess
import sys
from itertools import combinations

import pytest
from matplotlib.text import Text

from hivelearn.errors import UsageError
from hivelearn.report.curve_figure import loss_curve
from hivelearn.report.figures import BASE_TASKS, STAGES, exact_match, gains, save_exact_match

NODES = ("amber-otter", "jade-lynx")
DOMAINS = ("roman", "iso-date")


def scores(*exact):
    return {
        stage: {"exact": share, "loss": 0.1}
        for share, (stage, _, _) in zip(exact, STAGES, strict=True)
    }


ROWS = [
    {"node": node, "domain": domain, "own": n == m, **scores(0.0, 0.96 if n == m else 0.0, 0.95)}
    for n, node in enumerate(NODES)
    for m, domain in enumerate(DOMAINS)
]
RETENTION = [{"node": node, **scores(0.93, 0.92, 0.93)} for node in NODES]


def bars(ax):
    return [round(patch.get_height()) for patch in ax.containers for patch in patch]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_each_node_and_domain_has_a_bar_for_each_stage():
    ax = exact_match(ROWS, RETENTION)
    assert bars(ax) == [0, 96, 95, 0, 0, 95, 93, 92, 93, 0, 0, 95, 0, 96, 95, 93, 92, 93]
    labels = [label.get_text() for label in ax.get_xticklabels()]
    base_tasks = BASE_TASKS.replace(" ", "\n")
    assert labels == [
        "roman\n(own)",
        "iso-date",
        base_tasks,
        "roman",
        "iso-date\n(own)",
        base_tasks,
    ]
    assert set(NODES) <= set(texts(ax))


def test_own_domains_are_bold_and_named_in_the_legend():
    ax = exact_match(ROWS)
    weights = [label.get_fontweight() for label in ax.get_xticklabels()]
    assert weights == ["bold", "normal", "normal", "bold"]
    legend = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert legend == [label for _, label, _ in STAGES] + ["taught by the node's own expert"]


def test_what_was_not_measured_is_a_dash_not_a_zero():
    ax = exact_match([{"node": "a", "domain": "b", "own": True, **scores(0.0, None, 0.5)}])
    assert texts(ax) == ["0", "–", "50", "a"]


def test_a_name_that_looks_like_a_formula_is_drawn_as_it_is(tmp_path):
    row = {"node": "$\\frac{$", "domain": "$x^$\x1b", "own": False, **scores(0, 0, 0)}
    assert save_exact_match(tmp_path / "a.png", [row]).stat().st_size > 0


LONG = "complaints-of-customers-in-the-spring"
TITLE = "A title that goes on for longer than anybody would like it to go on, and on once more"


def long_names():
    rows = [{"node": LONG, "domain": f"{LONG}-{n}", **scores(0.1, None, 1.0)} for n in range(4)]
    yield exact_match(rows, title=TITLE)
    yield gains([(LONG, 0.5, 0.2, 0.9), ("b", -1.0, -2.0, 0.1)], title=TITLE)
    yield loss_curve([1.0, 0.5], title=TITLE)


def test_no_label_is_cut_or_covers_another():
    for ax in long_names():
        ax.figure.canvas.draw()
        page = ax.figure.bbox.padded(2)  # pixels: a box is larger than its letters
        legend = [text for each in ax.figure.legends for text in each.get_texts()]
        names = [text for text in ax.texts if text.get_text().startswith(LONG[:9])]
        ticks = [*ax.get_xticklabels(), *ax.get_yticklabels()]
        low, high = sorted(ax.get_xlim())
        ticks = [text for text in ticks if low <= text.get_position()[0] <= high]
        written = [get_title(ax), *legend, *names, *ticks]
        boxes = [text.get_window_extent() for text in written]
        for text, box in zip(written, boxes, strict=True):
            assert all(page.contains(*corner) for corner in box.corners()), text
        for (text, a), (other, b) in combinations(zip(written, boxes, strict=True), 2):
            assert not a.overlaps(b), (text, other)


def get_title(ax):
    (title,) = [
        text
        for text in ax.get_children()
        if isinstance(text, Text) and text.get_text()[:7] == TITLE[:7]
    ]
    return title


def test_it_draws_where_it_is_told():
    from matplotlib.figure import Figure

    mine = Figure().add_subplot()
    assert exact_match(ROWS, ax=mine) is mine


def test_nothing_to_draw_is_said_so():
    with pytest.raises(UsageError, match="no rows"):
        exact_match([])


def test_the_picture_is_a_png_and_pyplot_never_hears_of_it(tmp_path):
    path = tmp_path / "demo.png"
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from hivelearn.report.figures import save_exact_match\n"
        f"save_exact_match(Path({str(path)!r}), {ROWS!r}, {RETENTION!r})\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # None: import fails
    with pytest.raises(UsageError) as refused:
        exact_match(ROWS)
    assert refused.value.remedy == "pip install 'hivelearn[plots]'"


def test_a_gain_is_coloured_by_its_interval_not_by_its_mean():
    rows = [("own", 0.031, 0.02, 0.042), ("b", 0.03, -0.01, 0.07), ("c", -0.03, -0.05, -0.01)]
    ax = gains(rows, title="roman: adopted")
    intervals = [line for line in ax.lines if list(line.get_ydata()) in ([0, 0], [1, 1], [2, 2])]
    assert [list(line.get_xdata()) for line in intervals] == [[low, high] for *_, low, high in rows]
    assert len({line.get_color() for line in intervals}) == 3
    assert [label.get_text() for label in ax.get_yticklabels()] == ["own", "b", "c"]
    assert texts(ax) == ["+0.031", "+0.030", "-0.030"]


def test_no_measured_gain_is_said_so():
    with pytest.raises(UsageError, match="no gain was measured here"):
        gains([])
