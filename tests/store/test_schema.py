"""A home that an earlier version wrote opens, and nothing in it is lost.

`fixtures/home-v1` was written by the code before schema version 2; `home-v1.json` says
what that code read from it.
"""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from hivelearn import identity
from hivelearn.store.database import Database
from hivelearn.store.errors import HomeDamagedError
from hivelearn.store.home import Home
from hivelearn.store.schema import MIGRATIONS
from hivelearn.store.store import Store

FIXTURES = Path(__file__).parent / "fixtures"
SAID = json.loads((FIXTURES / "home-v1.json").read_text())
NOTED = SAID["settings"]
BASE = bytes.fromhex(SAID["base"])


@pytest.fixture
def old(tmp_path):
    """A copy of the home, as version 1 left it."""
    return Path(shutil.copytree(FIXTURES / "home-v1", tmp_path / "old"))


def plain(value):
    return json.loads(json.dumps(value, default=bytes.hex))


def noted(marks, kind):
    """Return what version 1 kept under keys that begin with ``kind``, by the rest of the key."""
    return {key.partition("/")[2]: value for key, value in marks.items() if key.startswith(kind)}


def assert_all_is_there(store):
    reputation, marks = store.reputation, store.marks
    assert plain([asdict(v) for v in reputation.vouches(withdrawn=True)]) == SAID["vouches"]
    standings = NOTED["standings"]
    assert {row.author.hex(): [row.bad, row.harms] for row in reputation.blame()} == {
        author: [said["evidence"]["bad"], said["harms"]] for author, said in standings.items()
    }
    assert {patch.hex(): said for patch, said in reputation.heard().items()} == NOTED["heard"]
    evidence = reputation.evidence()
    for author, said in standings.items():
        earned = [row for row in evidence if row.author.hex() == author]
        assert len(earned) == said["successes"]
        assert sum(row.worth for row in earned) == pytest.approx(said["evidence"]["good"])
        assert not any(row.compared for row in earned)  # they count once they have been
    assert plain(reputation.faults()) == NOTED["faults at the door"]
    for domain, turns in noted(NOTED, "turns/").items():
        found = {patch.hex(): [t.state, t.number] for patch, t in marks.turns(domain).items()}
        assert found == turns
    for about, patches in noted(NOTED, "taken back/").items():
        domain = about.partition("/")[2]
        assert sorted(p.hex() for p in marks.taken_back(BASE, domain)) == patches
    assert marks.left_out(BASE) == NOTED[f"left out/{SAID['base']}"]
    for about, digest in noted(NOTED, "learnt/").items():
        assert marks.learnt(BASE, about.partition("/")[2]) == digest
    shelf = [[e.id, e.author, e.domain, e.state, e.reason] for e in store.shelf.list()]
    assert plain(shelf) == SAID["shelf"]
    serving = plain([asdict(g) for g in store.generations.serving(BASE)])
    for served in [s for g in serving for s in (g["specialist"], *g["experts"]) if s]:
        assert served.pop("floor") is None  # version 1 knew none
    assert serving == SAID["serving"]
    said = {c.id: c.right for c in store.journal.list(superseded=True)}
    assert said == SAID["corrections"]
    assert plain(store.checkpoints.paused()) == SAID["paused"]
    assert plain([asdict(c) for c in store.candidates.list()]) == SAID["candidates"]


def test_the_fixture_has_something_of_every_kind():
    kinds = {key.partition("/")[0] for key in NOTED}
    assert kinds == {
        "standings",
        "heard",
        "faults at the door",
        "turns",
        "taken back",
        "left out",
        "learnt",
        "journal.unscrubbed",
    }
    assert all(NOTED.values())
    assert {bool(v["withdrawn_s"]) for v in SAID["vouches"]} == {True, False}


def test_an_old_home_is_read_before_anybody_has_written_to_it(old):
    before = (old / "hive.db").read_bytes()
    store = Store(Home.open(old))
    assert_all_is_there(store)
    assert store.database.version() == 1
    assert (old / "hive.db").read_bytes() == before


def test_the_first_writer_brings_an_old_home_forward_and_nothing_is_lost(old):
    store = Store(Home.open(old))
    with store.writing("open"):
        assert_all_is_there(store)
        # Its one feed named records of all swarms: it ends, and nothing of it is told again.
        device = bytes.fromhex(SAID["next_seq"][0][0])
        assert store.feeds.claim(b"s" * 32, device, 1.7e9).seq == 1
        own = {entry.id for entry in store.shelf.list(state="own")}
        assert own
        assert all(store.offers.topic_of(patch) is None for patch in own)
    assert store.database.version() == len(MIGRATIONS) == 4
    assert_all_is_there(Store(Home.open(old)))
    assert {store.blobs.has(e.payload) for e in store.shelf.list()} == {True}
    assert identity.open_in(old / "identity", 1.7e9).author.hex() == SAID["me"]


def tables(path):
    with closing(sqlite3.connect(path)) as file:
        rows = file.execute("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")
        return dict(rows.fetchall())


def test_an_old_home_and_a_new_one_have_the_same_tables(old, tmp_path):
    for path in (old, tmp_path / "new"):
        with Store(Home.open(path)).writing("open"):
            pass
    found = tables(old / "hive.db")
    assert found == tables(tmp_path / "new" / "hive.db")
    assert not {"settings", "standings", "heard"} & found.keys()


def test_what_a_harm_took_back_in_version_2_stays_taken_back(old):
    database = Database(old / "hive.db", MIGRATIONS[:2])
    with database.opened():
        database.migrate()
        with database.transaction() as writer:
            writer.execute("UPDATE standings SET successes = 1, harms = 1 WHERE successes = 2")
    found = Store(Home.open(old)).reputation.evidence()
    for author in {row.author for row in found}:
        said = sorted(row.judgement for row in found if row.author == author)
        assert said == ["success", "void"]


def test_a_forgetting_that_the_old_version_did_not_finish_is_finished(old):
    store = Store(Home.open(old))
    unfinished = "SELECT task FROM unfinished"
    assert store.database.rows(unfinished) == [("scrub",)]
    with store.writing("open"):
        assert store.database.rows(unfinished) == []


@pytest.mark.parametrize(
    "damage",
    [
        """UPDATE settings SET value = replace(value, '"good": ', '"good": NaN, "was": ')""",
        "DROP TABLE settings",
        "CREATE TABLE standings (author BLOB)",
    ],
)
def test_what_version_1_cannot_have_written_is_told_as_damage_of_the_home(old, damage):
    with closing(sqlite3.connect(old / "hive.db", isolation_level=None)) as file:
        file.execute(damage)
    with pytest.raises(HomeDamagedError), Store(Home.open(old)).writing("open"):
        pass
    with closing(sqlite3.connect(old / "hive.db")) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (1,)


def stop(_writer):
    raise KeyboardInterrupt


@pytest.mark.parametrize("place", range(len(MIGRATIONS[1]) + 1))
def test_a_step_that_is_broken_off_anywhere_leaves_the_old_file(old, place):
    step = [*MIGRATIONS[1][:place], stop, *MIGRATIONS[1][place:]]
    before = tables(old / "hive.db")
    database = Database(old / "hive.db", (MIGRATIONS[0], step))
    with database.opened(), pytest.raises(KeyboardInterrupt):
        database.migrate()
    assert database.version() == 1
    assert tables(old / "hive.db") == before
    assert_all_is_there(Store(Home.open(old)))


WRONG = {
    "no JSON": ("heard", "{"),
    "another shape": ("standings", "[1]"),
    "a key that is none": ("heard", '{"xyz": "harm"}'),
    "an unknown kind": ("duty", "1"),
}


@pytest.mark.parametrize(("key", "value"), WRONG.values(), ids=WRONG.keys())
def test_a_row_that_version_1_cannot_have_written_is_damage_and_is_left_alone(old, key, value):
    with closing(sqlite3.connect(old / "hive.db")) as file, file:
        file.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))
    before = tables(old / "hive.db")
    store = Store(Home.open(old))
    with pytest.raises(HomeDamagedError, match="a row of version 1 cannot be read"):
        store.reputation.blame()
    with pytest.raises(HomeDamagedError), store.writing("open"):
        pass
    assert store.database.version() == 1
    assert tables(old / "hive.db") == before
