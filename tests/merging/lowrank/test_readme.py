"""The room stays small, and its page names every constant."""

import re
from pathlib import Path

import hivelearn.merging.lowrank

ROOM = Path(hivelearn.merging.lowrank.__path__[0])
FILES = sorted(ROOM.glob("*.py"))


def test_the_room_stays_small():
    assert sum(file.read_text(encoding="utf-8").count("\n") for file in FILES) <= 350


def test_every_constant_stands_in_the_table_with_its_value_and_reason():
    page = (ROOM / "README.md").read_text(encoding="utf-8")
    constants = [
        f"`{file.stem}.{name}`"
        for file in FILES
        for name in re.findall(
            r"^(\w+): Final = [-\d]", file.read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    assert len(constants) >= 10
    assert [name for name in constants if f"| {name} |" not in page] == []
