"""Hooks before a commit judge as ``make lint`` does, with the same tools, and fetch nothing."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TOOL = re.compile(r"(?:\.venv|\$\(BIN\))/?(?:bin)?/(ruff check|ruff format|mypy|lint-imports)\b")
CONFIG = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")


def test_no_hook_is_fetched_from_anywhere():
    assert {repo["repo"] for repo in yaml.safe_load(CONFIG)["repos"]} == {"local"}


def test_the_hooks_run_every_tool_of_make_lint():
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].split("\n\n")[0]
    assert len(lint.splitlines()) == 5  # the target and four tools
    assert set(TOOL.findall(CONFIG)) == set(TOOL.findall(lint))
    assert len(set(TOOL.findall(lint))) == 4
