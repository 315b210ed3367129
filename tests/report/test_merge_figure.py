"""A merge in three pictures holds the numbers that the report holds."""

import pytest

from hivelearn.errors import UsageError
from hivelearn.report.merge_figure import draw, save
from hivelearn.report.merge_report import MergeReport

MODULES = ("model.layers.0.q_proj", "model.layers.0.up_proj", "model.layers.3.q_proj")


def report(**changes):
    fields = {
        "method": "karcher",
        "recipe": "ab" * 32,
        "sources": ("one $a$", "two"),
        "weights": (0.25, 0.75),
        "coefficients": {module: (0.2 + n / 10, 0.8) for n, module in enumerate(MODULES)},
        "cosines": ((1.0, -0.3), (-0.3, 1.0)),
        "norms": dict.fromkeys(MODULES, (3.0, 4.0)),
        "merged": dict.fromkeys(MODULES, 2.0),
        "errors": dict.fromkeys(MODULES, 0.1),
        "error": 0.1,
        "rank": 4,
    }
    return MergeReport(**{**fields, **changes})


def test_cosines_stand_in_their_cells():
    first = draw(report()).figure.axes[0]
    assert [text.get_text() for text in first.texts] == ["1.00", "-0.30", "-0.30", "1.00"]


def test_norms_add_up_over_the_modules_of_a_layer():
    lines = draw(report()).figure.axes[1].lines
    assert [list(line.get_xdata()) for line in lines] == [[0, 3]] * 3
    assert lines[0].get_ydata() == pytest.approx([18**0.5, 3.0])
    assert lines[2].get_ydata() == pytest.approx([8**0.5, 2.0])


def test_a_bar_is_the_mean_coefficient_of_a_source():
    bars = [patch.get_height() for patch in draw(report()).figure.axes[2].patches]
    assert bars == pytest.approx([0.3, 0.8])


def test_a_method_that_is_no_weighted_sum_shows_the_weights():
    third = draw(report(coefficients={})).figure.axes[2]
    assert [patch.get_height() for patch in third.patches] == pytest.approx([0.25, 0.75])
    assert third.get_title(loc="left") == "weight of each source"


def test_names_are_never_read_as_formulas(tmp_path):
    assert save(tmp_path / "merge.png", report()).read_bytes().startswith(b"\x89PNG")


def test_many_sources_and_layers_are_drawn_without_numbers_in_the_cells():
    count, modules = 12, [f"model.layers.{n}.q_proj" for n in range(40)]
    many = report(
        sources=tuple(map(str, range(count))),
        weights=(1.0,) * count,
        coefficients=dict.fromkeys(modules, (1.0,) * count),
        cosines=((0.5,) * count,) * count,
        norms=dict.fromkeys(modules, (1.0,) * count),
        merged=dict.fromkeys(modules, 1.0),
    )
    first = draw(many)
    assert not first.texts
    assert len(first.figure.axes[1].get_xticks()) <= 9


def test_a_merge_that_did_not_look_at_its_sources_says_how_to_make_it_look():
    with pytest.raises(UsageError, match="nothing to draw") as caught:
        draw(report(cosines=()))
    assert "report=True" in caught.value.remedy


def test_it_prints_and_shows_itself_in_a_notebook():
    told = str(report(why="chosen because"))
    assert told.splitlines()[:2] == [
        "karcher: rank 4, 3 modules, 10.0% lost to recompression",
        "chosen because",
    ]
    assert "<table>" in report()._repr_html_()


def test_a_report_draws_itself():
    assert len(report().plot().figure.axes[0].texts) == 4
