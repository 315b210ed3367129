"""A loss curve shows what was learnt, what was rehearsed and what was watched."""

import pytest

from hivelearn.errors import UsageError
from hivelearn.training.curve import Curve

CURVE = Curve((2.0, 1.0, 0.5), (0.7, 0.7, 0.6), ((2, 1.2),))


def test_each_loss_has_its_line():
    ax = CURVE.plot(title="roman $x$")
    lines = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}
    assert lines["corrections"] == [2.0, 1.0, 0.5]
    assert lines["the base's own answers, rehearsed"] == [0.7, 0.7, 0.6]
    assert lines["corrections that are only watched"] == [1.2]
    assert ax.get_title(loc="left") == "roman $x$"


def test_what_was_not_measured_has_none():
    assert len(Curve((1.0, 0.5)).plot().get_lines()) == 1


def test_a_long_training_is_drawn_with_fewer_points():
    (line,) = Curve(tuple(map(float, range(10_000)))).plot().get_lines()
    assert len(line.get_ydata()) <= 2_000


def test_no_step_is_no_curve():
    with pytest.raises(UsageError, match="no step was made"):
        Curve().plot()
