"""What a user writes passes `mypy --strict`: README, and calls whose types matter."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
USER = """
from collections.abc import Iterator
from typing import assert_type

import hivelearn as hl
from hivelearn.store.correction import Correction

node = hl.Node("folder", home="home", trust_remote_code=True)
answer = node.ask("14?", "roman", temperature=0.7, top_p=0.9, top_k=40, stop=["\\n"], seed=1)
assert_type(answer, hl.Answer)
assert_type(answer.correct("XIV"), Correction)
assert_type(answer.correct("XIV").holdout, bool)
assert_type(answer.answer_tokens, int)
pieces: Iterator[str] = node.stream([{"role": "user", "content": "14?"}], stop="\\n")
with node.stream("14?") as stream:
    print("".join(stream), stream.answer.finish_reason == "length")
node.ask("14?", temperatur=0.7)  # type: ignore[call-arg]
node.ask("14?", stop=3)  # type: ignore[arg-type]
"""


def test_the_readme_and_a_users_calls_pass_mypy_strict(tmp_path):
    readme = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(readme) > 5
    (tmp_path / "readme.py").write_text("\n".join(readme), encoding="utf-8")
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    done = subprocess.run(
        # The cache of `make check`: reading torch's types takes twenty seconds without it.
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache")]
        + [str(tmp_path / name) for name in ("readme.py", "user.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
