"""Fabrics by name: each has options of its own, and nobody else knows their fields."""

import asyncio
from dataclasses import dataclass

import pytest

from hivelearn.errors import UsageError
from hivelearn.swarm.fabrics import fabric_table
from hivelearn.swarm.fabrics.lan_options import LanOptions
from hivelearn.swarm.fabrics.memory import MemoryNetwork, MemoryOptions, open_memory
from hivelearn.testing.fabric_contract import until


@dataclass(frozen=True, slots=True)
class PigeonOptions:
    """Options that no other file of the package has heard of."""

    loft: str = "roof"
    pigeons: int = 2


@pytest.fixture
def pigeons(monkeypatch):
    """A fabric of a third party; returns the networks of its lofts."""
    lofts = {}

    def open_pigeons(device_seed, options):
        network = lofts.setdefault(options.loft, MemoryNetwork())
        return open_memory(device_seed, MemoryOptions(network))

    kind = fabric_table.FabricKind(open_pigeons, PigeonOptions)
    monkeypatch.setitem(fabric_table.FABRICS, "pigeons", lambda: kind)
    return lofts


def test_a_fabric_of_a_third_party_opens_with_an_option_of_its_own(pigeons):
    async def main():
        fabrics = [
            fabric_table.open_fabric(
                "pigeons", seed * 32, fabric_table.fabric_options("pigeons", {"loft": loft})
            )
            for seed, loft in ((b"a", "barn"), (b"b", "barn"), (b"c", "tower"))
        ]
        for fabric in fabrics:
            await fabric.start()
        a, b, c = fabrics
        await until(lambda: a.peers() == {b.key})
        assert not c.peers()
        for fabric in fabrics:
            await fabric.close()

    asyncio.run(main())
    assert sorted(pigeons) == ["barn", "tower"]


def test_what_is_not_stated_is_by_default(pigeons):
    assert fabric_table.fabric_options("pigeons", {"pigeons": 5}) == PigeonOptions("roof", 5)
    assert fabric_table.open_fabric("pigeons", bytes(32)).key
    assert list(pigeons) == ["roof"]


def test_an_option_that_a_fabric_does_not_have_is_refused_with_those_that_it_has(pigeons):
    for name, has in (
        ("pigeons", "loft, pigeons"),
        ("memory", "network"),
        ("lan", "listen, peers"),
    ):
        with pytest.raises(UsageError, match="'feathers'") as caught:
            fabric_table.fabric_options(name, {"feathers": 1})
        assert has in caught.value.remedy


def test_the_options_of_another_fabric_are_refused():
    with pytest.raises(UsageError, match="LanOptions, not MemoryOptions"):
        fabric_table.open_fabric("lan", bytes(32), MemoryOptions())


@pytest.mark.parametrize("name", ["hyperswarm", "libp2p", "pigeon"])
def test_a_fabric_that_is_not_here_says_which_are(name):
    with pytest.raises(UsageError, match=name) as caught:
        fabric_table.open_fabric(name, bytes(32))
    assert "lan, memory" in caught.value.remedy
    assert ("later release" in caught.value.what) == (name != "pigeon")


def test_a_fabric_whose_library_is_missing_names_it(monkeypatch):
    def missing():
        raise ModuleNotFoundError(name="pigeonpost")

    monkeypatch.setitem(fabric_table.FABRICS, "pigeons", missing)
    with pytest.raises(UsageError, match="pigeonpost") as caught:
        fabric_table.open_fabric("pigeons", bytes(32))
    assert "pip install pigeonpost" in caught.value.remedy


CANNOT = {
    "discover": {"discover": "perhaps"},
    "listen": {"listen": 5},
    "peers": {"peers": [5]},
    "'nowhere'": {"peers": "nowhere"},
    "'host:port'": {"listen": "host:port"},
}


@pytest.mark.parametrize(("told", "stated"), CANNOT.items(), ids=CANNOT.keys())
def test_a_value_that_cannot_be_is_refused_before_anything_opens(told, stated):
    with pytest.raises(UsageError, match=told):
        fabric_table.fabric_options("lan", stated)


def test_a_single_peer_may_be_given_as_text():
    assert LanOptions(peers="host:5") == LanOptions(peers=["host:5"])


def test_by_default_a_node_listens_everywhere_and_looks_for_others():
    assert LanOptions() == LanOptions(listen="0.0.0.0:0", peers=(), discover=True)
