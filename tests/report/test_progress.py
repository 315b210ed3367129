"""Progress on a terminal and in a notebook that has nothing but itself, else silence."""

import nbformat
import pytest
from nbclient import NotebookClient

from hivelearn.report.progress import Progress, line, seconds_left, wanted


def test_progress_is_drawn_on_a_terminal_or_when_asked(capfd):
    assert not wanted(None)
    with Progress(None, "train", 3) as bar:
        bar.at(1, "loss 1.0")
        bar.say("hot")
    assert capfd.readouterr() == ("", "")
    with Progress(True, "train roman", 3) as bar:
        bar.at(2, "loss 0.5")
        bar.say("cooling")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "train roman" in shown.err
    assert "2/3" in shown.err
    assert "cooling" in shown.err


CELL = """
from hivelearn.report.progress import Progress
with Progress(None, "train roman", 240) as shown:
    for step in (121, 122):  # it goes on from step 120
        shown.at(step, "loss 0.125")
    shown.say("83 °C is <hot>.")
"""


@pytest.mark.filterwarnings("default")  # what a kernel's own libraries deprecate is not ours
def test_in_a_notebook_it_is_one_output_of_text_and_needs_no_widgets():
    without = "import sys; sys.modules['ipywidgets'] = None  # as if it were not installed"
    cells = [nbformat.v4.new_code_cell(without), nbformat.v4.new_code_cell(CELL)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    (output,) = notebook.cells[1].outputs  # one, and no warning beside it
    text = output.data["text/plain"]
    assert text.startswith("train roman  ━━")
    assert "  122/240  0:00:0" in text
    assert text.endswith(" left  83 °C is <hot>.")
    assert "is &lt;hot&gt;.</pre>" in output.data["text/html"]


def test_the_time_left_is_that_of_the_steps_seen():
    assert seconds_left(120, 10.0, 120, 12.0, 240) is None
    assert seconds_left(120, 10.0, 130, 20.0, 240) == 110.0
    assert seconds_left(1, 0.0, 4, 3.0, 4) == 0.0


def test_a_line_tells_the_share_done_and_no_time_left_at_the_end():
    assert line("t", 0, 4, None, "") == "t  " + "─" * 24 + "  0/4"
    assert line("t", 1, 4, 3723.4, "x") == "t  ━━━━━━" + "─" * 18 + "  1/4  1:02:03 left  x"
    assert line("t", 4, 4, 0.0, "x") == "t  " + "━" * 24 + "  4/4  x"
    assert line("t", 0, 0, None, "") == "t  " + "─" * 24 + "  0/0"
