"""The pages build into a site without a warning, and its reference has every public name."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hivelearn

ROOT = Path(__file__).parents[2]
ROLE = re.compile(r":(?:mod|class|func|meth|attr|data|exc):`~?([\w.]+)`")


def defined():
    """Return the dotted name of every module, class, function, method and constant of ours."""
    names = set()
    for path in sorted((ROOT / "hivelearn").rglob("*.py")):
        inside = path.relative_to(ROOT).with_suffix("").as_posix().removesuffix("/__init__")
        module = inside.replace("/", ".")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names |= {module} | {f"{module}.{name}" for name in _names(tree)}
    return names


def _names(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield child.name
            if isinstance(child, ast.ClassDef):
                yield from (f"{child.name}.{name}" for name in _names(child))
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="pip install 'hivelearn[docs]'")
    build = ["-W", "--keep-going", "-q", "-c", str(ROOT / "docs"), "-d", str(tmp_path / "trees")]
    ran = subprocess.run(
        [sys.executable, "-m", "sphinx", *build, str(ROOT), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "docs/index.html" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    pages = {page.stem for page in (tmp_path / "site").rglob("*.html")}
    assert {"README", "quickstart", "merging", "api", "design", "LOG", "CONTRIBUTING"} <= pages


def test_the_reference_has_every_public_name_and_no_other():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. auto(?:class|function):: hivelearn\.(\w+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(set(hivelearn.__all__) - {"__version__"})


def test_a_docstring_refers_to_what_exists():
    known = {f".{name}" for name in defined()}
    gone = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in sorted((ROOT / "hivelearn").rglob("*.py"))
        for target in ROLE.findall(path.read_text(encoding="utf-8"))
        if not any(name.endswith(f".{target}") for name in known)
    ]
    assert not gone
