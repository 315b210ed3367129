"""What importing hivelearn costs, and that its public names are all there.

Everything here runs in fresh interpreters: this one has loaded torch long ago.
"""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import hivelearn

ROOT = Path(__file__).parent.parent
HEAVY = (
    "torch",
    "numpy",
    "zmq",
    "zeroconf",
    "libp2p",
    "trio",
    "transformers",
    "peft",
    "matplotlib",
)
# Files that compute with tensors or hold sockets, and rooms that compose them.
# Whatever is not named here stays light, and so do all that it imports.
MAY_BE_HEAVY = re.compile(
    r"(inference|training|integrations|testing|swarm/fabrics)/|merging/(?!errors|recipe/)"
    r"|gate/probes|trunk/step|patch/(adapter|gguf_file|open_model|peft_folder|plain_lora|envelope)"
    r"|(node|demo)/(?!__init__|config|tasks)"
)


def modules():
    for path in sorted((ROOT / "hivelearn").rglob("*.py")):
        inside = path.relative_to(ROOT / "hivelearn").as_posix()
        name = inside.removesuffix(".py").removesuffix("__init__").strip("/").replace("/", ".")
        if name.endswith("__main__"):
            continue
        if path.name == "__init__.py" or not MAY_BE_HEAVY.match(inside):
            yield f"hivelearn.{name}".rstrip(".")


def fresh(code):
    """Run ``code`` in a fresh interpreter and return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


def test_pure_modules_load_nothing_heavy():
    """One interpreter imports them one after the other and names the first that is heavy."""
    pure = list(modules())
    assert {"hivelearn", "hivelearn.codec", "hivelearn.errors"} <= set(pure)
    guilty = fresh(
        "import sys\nfrom importlib import import_module\n"
        f"for name in {pure!r}:\n"
        "    import_module(name)\n"
        f"    loaded = [heavy for heavy in {HEAVY!r} if heavy in sys.modules]\n"
        "    if loaded:\n"
        "        print(name, 'loads', *loaded)\n"
        "        break\n"
    )
    assert guilty == ""


def test_importing_hivelearn_leaves_the_process_as_it_was():
    changed = fresh(
        "import os, sys, threading, warnings\n"
        "environment, threads = dict(os.environ), threading.active_count()\n"
        "import hivelearn\n"
        "if dict(os.environ) != environment: print('environment')\n"
        "if threading.active_count() != threads: print('threads')\n"
        "rooms = [name for name in sys.modules if name.startswith('hivelearn.')]\n"
        "if rooms: print(*rooms)\n"
    )
    assert changed == ""


@pytest.mark.parametrize("name", hivelearn.__all__)
def test_a_public_name_loads_on_first_use(name):
    value = getattr(hivelearn, name)
    assert value is getattr(hivelearn, name)
    if name in hivelearn._HOME:
        assert value is getattr(import_module(hivelearn._HOME[name]), name)


def test_completion_lists_the_public_names_and_no_others_load():
    assert dir(hivelearn) == sorted(hivelearn.__all__)
    assert set(hivelearn._HOME) == set(hivelearn.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="no attribute 'Hive'"):
        _ = hivelearn.Hive


def test_no_room_has_the_name_of_a_public_function():
    """A package ``merge`` would shadow ``hivelearn.merge`` as soon as it is imported."""
    rooms = {path.stem for path in (ROOT / "hivelearn").iterdir()}
    assert not rooms & set(hivelearn.__all__)


def test_the_table_for_people_and_the_table_for_type_checkers_agree():
    text = (ROOT / "hivelearn" / "__init__.py").read_text(encoding="utf-8")
    typed = {name: home for home, name in re.findall(r"from (\S+) import (\w+) as \2", text)}
    assert typed == hivelearn._HOME
