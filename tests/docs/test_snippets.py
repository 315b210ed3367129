"""Every Python snippet of a page runs, page by page in order, and prints what the page shows.

Three marks, all invisible to a reader of the page:

- a ``text`` block right behind a ``python`` block is what that block prints; numbers
  may differ from run to run, words may not;
- ``<!-- setup ... -->`` holds what the page takes for granted (adapters called ``a`` and
  ``b``, say), and runs where it stands;
- ``python illustration`` is a block that only illustrates. There are few.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
SHORTER = {"README.md": {"steps=200": "steps=4"}}  # what a page does at length
ILLUSTRATIONS_MAX = 2
TIMEOUT_S = 240.0
SNIPPET = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n^```text\n(?P<prints>.*?)^```$)?"
    r"|^<!-- setup\n(?P<setup>.*?)^-->$",
    re.DOTALL | re.MULTILINE,
)
END = "-- end of a snippet --"  # printed after each, to tell whose output is whose


def snippets(page):
    """Return (code, what it prints or None) in the order of the page."""
    matches = SNIPPET.finditer(page.read_text(encoding="utf-8"))
    return [(match["code"] or match["setup"], match["prints"]) for match in matches]


def run(program, folder):
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | {"HIVELEARN_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def in_words(text):
    """Return ``text`` with numbers masked and ends of lines without spaces."""
    return [re.sub(r"[\d.]+", "#", line.rstrip()) for line in text.strip().splitlines()]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if snippets(p)], ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_the_snippets_of_a_page_run_in_order_and_print_what_it_shows(page, tmp_path):
    found = snippets(page)
    program = "import torch; torch.set_num_threads(1)\n"
    program += "".join(f"{code}\nprint({END!r})\n" for code, _ in found)
    for long, short in SHORTER.get(page.relative_to(ROOT).as_posix(), {}).items():
        assert long in program
        program = program.replace(long, short)
    ran = run(program, tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]
    printed = ran.stdout.split(END)
    for (_, shown), said in zip(found, printed, strict=False):
        assert shown is None or in_words(said) == in_words(shown)


def test_hardly_a_snippet_only_illustrates():
    fences = [line for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()]
    other = [line for line in fences if re.match(r"```(py|.*illustration)", line)]
    assert set(other) <= {"```python", "```python illustration"}
    assert other.count("```python illustration") <= ILLUSTRATIONS_MAX


def test_a_snippet_that_fails_is_seen(tmp_path):
    assert run("import hivelearn as hl\nhl.nonsense", tmp_path).returncode == 1
