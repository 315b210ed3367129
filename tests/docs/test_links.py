"""Links lead somewhere: to a file that git keeps, and to a heading that the page has.

Only links inside the repository are followed; tests reach no network.
"""

import re
import subprocess
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def prose(path):
    """Return the page without its code, in which brackets and hashes are no links or headings."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    return CODE.sub("", text)


def links(path):
    """Return the links inside the repository as (file, anchor or empty)."""
    found = [link.partition("#") for link in LINK.findall(prose(path)) if "://" not in link]
    return [((path.parent / name).resolve() if name else path, anchor) for name, _, anchor in found]


def anchors(path):
    """Return the anchors of a page's headings, as GitHub and the site name them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def pages():
    return [*PAGES, *sorted((ROOT / "notebooks").glob("*.ipynb"))]


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_to_a_heading(page):
    for target, anchor in links(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target} has no heading #{anchor}"


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_no_file_that_a_page_links_is_ignored_by_git():
    # One that is ignored is there for whoever made it, and missing in everybody else's clone.
    linked = {str(target) for page in pages() for target, _ in links(page)}
    asked = ["git", "check-ignore", "--no-index", *sorted(linked)]
    assert not subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).stdout


def test_no_page_and_no_module_cites_what_is_not_in_the_repository():
    """A reader of a clone must be able to look up whatever a sentence names."""
    outside = re.compile(r"\bDESIGN\b|\bDESIGN\.md\b|the design text")
    files = [*pages(), ROOT / "Makefile", ROOT / "setup.cfg", ROOT / "pyproject.toml"]
    for folder in ("hivelearn", "examples", "benchmarks"):
        files += sorted((ROOT / folder).rglob("*.py"))
    guilty = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files
        for match in outside.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not guilty
