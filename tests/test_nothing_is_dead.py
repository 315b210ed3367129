"""Whatever stands in the package is reached from the product, not from its tests alone.

The roots are what runs when a module is imported, the public names, the entry points,
the examples, the notebooks and the README. From there names are followed into what
they name, module by module; a function that only dead functions call is dead, too.
Benchmarks and tests do not count. Methods are known by their name alone: one is dead
if nothing alive says its name.
"""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent

TESTING = "hivelearn.testing"  # public: used by others' tests
# What nothing reaches and stays all the same, each with its reason.
ALLOWED = {
    "hivelearn.swarm.topics.lobby": "the topic that a later issue meets strangers in",
    "hivelearn.inference.nano.texts.sentences": "drew general.txt, and says how to draw it again",
    "hivelearn.swarm.runner.SwarmRunner.domains_seen": "what is heard in the lobby, likewise",
}


@dataclass
class Module:
    """One file: what it defines, what runs at import, and what its names mean."""

    name: str
    tree: ast.Module
    units: dict[str, ast.AST] = field(default_factory=dict)
    roots: list[ast.AST] = field(default_factory=list)
    imports: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._divide(self.tree.body)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                self.imports |= {(a.asname or a.name.split(".")[0]): a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def _divide(self, body: list[ast.stmt]) -> None:
        for node in body:
            match node:
                case ast.FunctionDef(decorator_list=[_, *_]):  # whoever decorates may call it
                    self.roots.append(node)
                case (
                    ast.FunctionDef(name=name)
                    | ast.AsyncFunctionDef(name=name)
                    | ast.ClassDef(name=name)
                ) if not name.startswith("__"):
                    self._keep(name, node)
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name))
                ) if not name.startswith("__"):
                    self._keep(name, node)
                case ast.If(test=test) if "TYPE_CHECKING" in ast.unparse(test):
                    self._divide(node.orelse)
                case ast.Import() | ast.ImportFrom():
                    pass
                case _:
                    self.roots.append(node)

    def _keep(self, name: str, node: ast.AST) -> None:
        if name in self.units:  # an overload, or another branch
            self.roots.append(node)
        else:
            self.units[name] = node


def said(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes below ``node``, also of annotations that are written as text."""
    for each in ast.walk(node):
        yield each
        texts = [getattr(each, "annotation", None), getattr(each, "returns", None)]
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "cast":
            texts += each.args[:1]
        if isinstance(each, ast.AnnAssign) and ast.unparse(each.annotation) == "TypeAlias":
            texts.append(each.value)
        for text in texts:
            for quoted in ast.walk(text) if isinstance(text, ast.AST) else ():
                if isinstance(quoted, ast.Constant) and isinstance(quoted.value, str):
                    with suppress(SyntaxError):  # a sentence in Annotated
                        yield from ast.walk(ast.parse(quoted.value, mode="eval"))


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` of such an expression, or nothing."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner else ""


class Package:
    """All modules, and what of them is reached."""

    def __init__(self, sources: dict[str, str], outside: dict[str, str]) -> None:
        self.modules = {name: Module(name, ast.parse(text)) for name, text in sources.items()}
        self.reached: set[tuple[str, str]] = set()
        self.texts: set[str] = set()  # how tables name what they load on use
        self.plugins: set[str] = set()  # modules that others than the public table name so
        self.words: set[str] = set()  # attributes and texts: how methods are named
        for name, module in self.modules.items():
            for root in module.roots:
                self._follow(module, root)
            if name.startswith(TESTING):
                for unit in list(module.units):
                    self._reach(name, unit)
        for name, text in outside.items():
            script = Module(name, ast.parse(text))
            self._follow(script, script.tree)
        self._follow_tables()

    def _follow(self, module: Module, node: ast.AST) -> None:
        for each in said(node):
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                self.texts.add(each.value)
                self.plugins |= {each.value} if module.name != "hivelearn" else set()
                self.words.add(each.value)
            elif isinstance(each, ast.Attribute):
                self.words.add(each.attr)
                self._reach_dotted(module, dotted(each))
            elif isinstance(each, ast.Name):
                self._reach_dotted(module, each.id)
            elif isinstance(each, ast.keyword) and each.arg:
                self.words.add(each.arg)
            elif isinstance(each, ast.MatchClass):
                self.words |= set(each.kwd_attrs)

    def _reach_dotted(self, module: Module, name: str) -> None:
        first, _, rest = name.partition(".")
        if first in module.units:
            self._reach(module.name, first)
        target = module.imports.get(first)
        if target is not None:
            home, _, unit = f"{target}.{rest}".rstrip(".").rpartition(".")
            self._reach(home, unit)
            home, _, unit = target.rpartition(".")
            self._reach(home, unit)

    def _reach(self, home: str, unit: str) -> None:
        module = self.modules.get(home)
        if module is None or unit not in module.units or (home, unit) in self.reached:
            return
        self.reached.add((home, unit))
        self._follow(module, module.units[unit])

    def _follow_tables(self) -> None:
        """Follow tables that name a module and a function as text, to load them on use."""
        before = -1
        while len(self.reached) != before:
            before = len(self.reached)
            for home in self.texts & self.modules.keys():
                named = self.words if home in self.plugins else self.texts
                for unit in named & self.modules[home].units.keys():
                    self._reach(home, unit)

    def dead_names(self) -> Iterator[str]:
        for home, module in self.modules.items():
            for unit in module.units:
                if (home, unit) not in self.reached:
                    yield f"{home}.{unit}"

    def dead_methods(self) -> Iterator[str]:
        """Yield methods that nothing says, but for those of public classes and of hosts."""
        public = self.modules["hivelearn"].imports.values() if "hivelearn" in self.modules else ()
        for home, unit in sorted(self.reached):
            node = self.modules[home].units[unit]
            if not isinstance(node, ast.ClassDef) or home.startswith(TESTING):
                continue
            if f"{home}.{unit}" in public or any(
                self.modules[home]
                .imports.get(dotted(base).partition(".")[0], "typing.")
                .split(".")[0]
                not in ("hivelearn", "typing", "enum")
                for base in node.bases
            ):  # a base class from elsewhere calls what it knows
                continue
            for method in node.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                    special = re.fullmatch(r"__\w+__|_repr_\w+_", method.name)
                    if not special and method.name not in self.words:
                        yield f"{home}.{unit}.{method.name}"


def sources() -> dict[str, str]:
    """Return the text of each module of the package."""
    found = {}
    for path in sorted((ROOT / "hivelearn").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix().removesuffix(".py").removesuffix("/__init__")
        found[name.replace("/", ".")] = path.read_text(encoding="utf-8")
    return found


def outside() -> dict[str, str]:
    """Return what users run: examples, notebooks, the README and the entry points."""
    found = {path.name: path.read_text("utf-8") for path in (ROOT / "examples").glob("*.py")}
    readme = (ROOT / "README.md").read_text("utf-8")
    found["README.md"] = "\n".join(re.findall(r"```python\n(.*?)```", readme, re.DOTALL))
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        found[path.name] = "\n".join(code)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for place in project["scripts"].values():
        home, _, unit = place.partition(":")
        found[place] = f"from {home} import {unit}\n{unit}()\n"
    return found


def test_nothing_is_dead():
    package = Package(sources(), outside())
    dead = {*package.dead_names(), *package.dead_methods()}
    assert not dead - ALLOWED.keys(), "nothing reaches\n" + "\n".join(sorted(dead - ALLOWED.keys()))
    assert not ALLOWED.keys() - dead, f"alive again: {sorted(ALLOWED.keys() - dead)}"


def test_what_only_the_dead_call_is_dead_and_what_a_table_names_is_not():
    text = {
        "hivelearn.a": "from hivelearn import b\nimport sys\nb.used(sys.argv)\n",
        "hivelearn.b": (
            "def used(x: 'Kind') -> None: _inner()\n"
            "def _inner(): ...\n"
            "def _unused(): _below()\n"
            "def _below(): ...\n"
            "class Kind:\n"
            "    def said(self): ...\n"
            "    def unsaid(self): ...\n"
            "LIMIT = 3\n"
        ),
        "hivelearn.c": "TABLE = {'hivelearn.d': 'named'}\nprint(TABLE)\n",
        "hivelearn.d": "def named(): ...\ndef unnamed(): ...\n",
    }
    package = Package(text, {"example.py": "thing.said()"})
    assert set(package.dead_names()) == {
        "hivelearn.b._unused",
        "hivelearn.b._below",
        "hivelearn.b.LIMIT",
        "hivelearn.d.unnamed",
    }
    assert set(package.dead_methods()) == {"hivelearn.b.Kind.unsaid"}


def test_every_module_is_imported_or_started_by_name():
    package = Package(sources(), outside())
    alive = {"hivelearn.__main__", *package.words}
    for module in package.modules.values():
        for target in module.imports.values():
            alive |= {target, target.rpartition(".")[0]}
    alive |= {name.rpartition(".")[0] for name in package.modules}
    alive |= {name for name, text in sources().items() if '__name__ == "__main__"' in text}
    dead = [n for n in package.modules if n not in alive and not n.startswith(TESTING)]
    assert not dead, f"nobody imports {dead}"
