"""The house rules as tests, so that reviews can be about ideas.

Each rule is a function from one source file to its breaches, in words. What a
linter can hold (style, types, arrows between rooms) is held there.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES_MAX = 400
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 7
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}

MODELS = {"accelerate", "datasets", "numpy", "pandas", "peft", "pyarrow", "safetensors", "torch"}
SOCKETS = {"libp2p", "trio", "zeroconf", "zmq"}
HEAVY = MODELS | SOCKETS | {"matplotlib", "psutil", "rich", "transformers"}
# Who may import what at module level, by path (ARCHITECTURE.md: only files that compute
# with tensors import torch). Everybody else loads it where it is used.
MAY_IMPORT = {
    r"hivelearn/(inference|training|testing|integrations)/": MODELS | {"transformers"},
    r"hivelearn/gate/probes\.py": MODELS,
    r"hivelearn/trunk/step\.py": MODELS,
    r"hivelearn/merging/(?!errors|recipe/)": MODELS,
    r"hivelearn/patch/(adapter|gguf_file|open_model|peft_folder|plain_lora)\.py": MODELS,
    r"hivelearn/device/portable\.py": {"psutil"},
    r"hivelearn/swarm/fabrics/": SOCKETS,
    r"hivelearn/(cli|demo)[/.]": {"rich"},
    r"(tests|examples|benchmarks)/": HEAVY,
}
SPEAKS = re.compile(r"hivelearn/(cli|demo)[/.]|hivelearn/inference/nano/")


@dataclass(frozen=True)
class Source:
    path: str  # relative to the repository, with forward slashes
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.text)

    @property
    def ours(self) -> bool:
        return self.path.startswith("hivelearn/")

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


_parsed = cache(ast.parse)
Rule = Callable[[Source], Iterator[str]]
SOURCES = [
    Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    for folder in ("hivelearn", "tests", "examples", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def run_at_import(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that importing runs: none in functions, none for types only."""
    for node in nodes:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        types_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for block in ("orelse", "finalbody") if types_only else ("body", "orelse", "finalbody"):
            yield from run_at_import(getattr(node, block, []))
        for handler in getattr(node, "handlers", []):
            yield from run_at_import(handler.body)


def imported(node: ast.AST) -> set[str]:
    """Return the dotted names that an import statement may load."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        return {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return set()


def a_file_fits_its_measure(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > LINES_MAX:
        yield f"{lines} lines"


def a_function_fits_a_screen(source: Source) -> Iterator[str]:
    for function in functions(source):
        lines = (function.end_lineno or 0) - function.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield f"{function.lineno}: {function.name} has {lines} lines"


def parameters_are_few(source: Source) -> Iterator[str]:
    for function in functions(source):
        given = function.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        count = len([name for name in names if name not in ("self", "cls")])
        if count > PARAMETERS_MAX:
            yield f"{function.lineno}: {function.name} takes {count} parameters"


def a_name_says_something(source: Source) -> Iterator[str]:
    for part in source.module.split("."):
        if part in NAMES_THAT_SAY_NOTHING:
            yield f"{part} says nothing"


def a_module_says_what_it_is_for(source: Source) -> Iterator[str]:
    if not ast.get_docstring(source.tree):
        yield "no docstring"


def a_package_init_holds_a_docstring_only(source: Source) -> Iterator[str]:
    if source.path.endswith("/__init__.py") and source.module != "hivelearn":
        for node in source.tree.body[1:]:
            yield f"{node.lineno}: more than a docstring"


def heavy_libraries_load_on_use(source: Source) -> Iterator[str]:
    allowed = {
        name for path, names in MAY_IMPORT.items() if re.match(path, source.path) for name in names
    }
    for node in run_at_import(source.tree.body):
        for name in {name.split(".")[0] for name in imported(node)} & (HEAVY - allowed):
            yield f"{node.lineno}: imports {name} at module level"


def nothing_unpickles(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree) if source.ours else ():
        names = imported(node) | ({ast.unparse(node)} if isinstance(node, ast.Attribute) else set())
        for name in names & {"pickle", "dill", "shelve", "marshal", "torch.load", "torch.save"}:
            yield f"{node.lineno}: {name} runs what a file says"


def only_rooms_for_people_print(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree) if source.ours and not SPEAKS.match(source.path) else ():
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"{node.lineno}: prints"


def nothing_is_left_for_later(source: Source) -> Iterator[str]:
    later = re.compile(r"\bTO[D]O|\bFIX[M]E|\bX[X]X\b")  # bracketed, not to find itself
    for number, line in enumerate(source.text.splitlines(), 1):
        if later.search(line):
            yield f"{number}: {line.strip()}"


# One breach of each rule, so that none of them can fall asleep.
BREACHES: dict[Rule, tuple[str, str]] = {
    a_file_fits_its_measure: ("hivelearn/long.py", "x = 1\n" * (LINES_MAX + 1)),
    a_function_fits_a_screen: ("hivelearn/f.py", "def f():\n" + "    x = 1\n" * 60),
    parameters_are_few: ("tests/f.py", "def f(self, a, b, c, d, *, e, f, g, h): ..."),
    a_name_says_something: ("hivelearn/swarm/utils.py", ""),
    a_module_says_what_it_is_for: ("examples/mute.py", "x = 1"),
    a_package_init_holds_a_docstring_only: ("hivelearn/swarm/__init__.py", "'''Doc.'''\nx = 1"),
    heavy_libraries_load_on_use: ("hivelearn/store/a.py", "try:\n    import torch\nfinally: ..."),
    nothing_unpickles: ("hivelearn/store/b.py", "def f(path):\n    return torch.load(path)"),
    only_rooms_for_people_print: ("hivelearn/trust/c.py", "print('hello')"),
    nothing_is_left_for_later: ("hivelearn/d.py", "# \x54ODO: later"),
}  # fmt: skip


@pytest.mark.parametrize("rule", BREACHES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rule(rule):
    breaches = [f"{source.path}: {what}" for source in SOURCES for what in rule(source)]
    assert not breaches, "\n" + "\n".join(breaches)


@pytest.mark.parametrize("rule", BREACHES, ids=lambda rule: rule.__name__)
def test_a_rule_sees_its_breach(rule):
    assert list(rule(Source(*BREACHES[rule])))


def test_types_and_functions_may_name_heavy_libraries():
    text = "if TYPE_CHECKING:\n    import torch\ndef f():\n    import numpy\n"
    assert not list(heavy_libraries_load_on_use(Source("hivelearn/store/a.py", text)))
