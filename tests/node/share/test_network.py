"""Two nodes in one process on the memory fabric: patches travel, handles are counted."""

import time
from dataclasses import dataclass

import pytest

from hivelearn.errors import UsageError
from hivelearn.node.background import BackgroundRun, Schedule
from hivelearn.node.share.network import JoinOptions, NodeNetwork
from hivelearn.store.errors import WriterBusyError
from hivelearn.swarm.fabrics.fabric_table import FABRICS, FabricKind
from hivelearn.swarm.fabrics.memory import MemoryNetwork, MemoryOptions, open_memory
from hivelearn.testing.hostile import shelf_state


def test_a_patch_travels_rests_in_quarantine_and_is_admitted(make, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    with owner.join("yes", fabric="memory") as theirs, node.join("yes", fabric="memory") as ours:
        told = theirs.publish(patch)
        for _ in range(10):
            ours.sync(2.0)
            if node.context.shelf.get(told.id):
                break
        assert shelf_state(node, told) == "quarantined"
        assert any(peer.verified for peer in ours.peers)
        assert node.merge("yes").outcome == "admitted"  # the same process may write meanwhile
    assert node.ask(kit.prompts("yes", 1, held=True)[0], max_new_tokens=1).route.mode == "routed"


def test_the_last_handle_closes_the_network_and_gives_the_lock_back(make):
    node, other = make(), make()
    first = node.join("yes", fabric="memory")
    second = node.join("no", fabric="memory")
    with pytest.raises(WriterBusyError, match="join the swarm"):
        other.train("yes")
    first.close()
    first.close()
    assert node.status().writer is not None
    with pytest.raises(UsageError, match="closed"):
        first.sync(0.1)
    second.close()
    assert node.status().writer is None
    with node.join("yes", fabric="memory"):  # and it can be joined again
        pass


ALONE = {"listen": "127.0.0.1:0", "discover": False}
CANNOT = {
    "no domain": ((), {}),
    "no domain's name": (("Not A Domain",), {}),
    "a domain that is a number": ((5,), {}),
    "no such fabric": (("yes",), {"fabric": "pigeons"}),
    "more topics than a fabric has": ([f"d{i}" for i in range(300)], {"fabric": "memory"}),
    "half a character": (("yes",), {"fabric": "memory", "secret": "\udcff"}),
    "a secret that is empty": (("yes",), {"fabric": "memory", "secret": ""}),
    "a secret that is a number": (("yes",), {"fabric": "memory", "secret": 5}),
    "peers that are numbers": (("yes",), {**ALONE, "peers": [5]}),
    "peers that are no addresses": (("yes",), {**ALONE, "peers": ["nowhere"]}),
    "discovery perhaps": (("yes",), {**ALONE, "discover": "perhaps"}),
    "another fabric's option": (("yes",), {"fabric": "memory", "listen": "127.0.0.1:0"}),
}


@pytest.mark.parametrize(("domains", "how"), CANNOT.values(), ids=CANNOT.keys())
def test_a_join_that_cannot_be_is_refused_and_leaves_nothing_open(make, domains, how):
    node = make()
    with pytest.raises(UsageError):
        node.join(*domains, **how)
    assert node.status().writer is None
    with node.join("yes", fabric="memory") as swarm:  # and what is open stays as it was
        with pytest.raises(UsageError):
            node.join(*domains, **how)
        assert swarm.domains == ("yes",)
        assert node.status().writer is not None
    assert node.status().writer is None  # the refused join keeps nothing open


def test_a_second_join_shares_the_network_and_says_what_it_cannot_change(make):
    node = make()
    with node.join("yes", **ALONE):
        for stated in ({"fabric": "memory"}, {"listen": "127.0.0.1:5"}, {"discover": True}):
            with pytest.raises(UsageError, match=next(iter(stated))):
                node.join("yes", **stated)
        with node.join("no"), node.live("yes", discover=False):
            pass


@dataclass(frozen=True, slots=True)
class PigeonOptions:
    """Options of a fabric that `node` has never heard of."""

    loft: str = "roof"


def test_an_option_of_a_fabric_that_the_node_does_not_know_is_passed_on(make, monkeypatch):
    opened = []

    def open_pigeons(device_seed, options):
        opened.append(options)
        return open_memory(device_seed, MemoryOptions(MemoryNetwork()))

    kind = FabricKind(open_pigeons, PigeonOptions)
    monkeypatch.setitem(FABRICS, "pigeons", lambda: kind)
    node = make()
    with node.join("yes", fabric="pigeons", loft="barn"):
        with node.join("no", loft="barn"), node.join("no"):
            pass
        with pytest.raises(UsageError, match="loft='barn'"):
            node.join("no", loft="roof")
        with pytest.raises(UsageError, match="'feathers'") as caught:
            node.join("no", feathers=5)
        assert "loft" in caught.value.remedy
    assert opened == [PigeonOptions("barn")]


def test_another_modules_protocol_rides_on_the_nodes_network(make):
    async def echo(_peer, stream):
        await stream.send(await stream.recv(5.0))

    async def ask(swarm, peer):
        stream = await swarm.open_stream(peer, "example.org/echo/1")
        await stream.send(b"hello")
        return await stream.recv(5.0)

    node, other = make("one"), make("two")
    with node.join("yes", **ALONE) as theirs:
        theirs.handle("example.org/echo/1", echo)
        with other.join("yes", **ALONE, peers=theirs.address) as ours:
            ours.sync(5.0)
            assert ours.run(ask(ours, ours.peers[0].key)) == b"hello"
        with pytest.raises(UsageError, match="closed"):
            ours.run(ask(ours, bytes(32)))
        with pytest.raises(UsageError, match="swarm's own"):
            theirs.handle("hivelearn/sync/1", echo)


def test_a_second_join_meets_its_peers_too(make):
    node, other = make("one"), make("two")
    with node.join("yes", **ALONE), other.join("yes", **ALONE) as theirs:
        with node.join("no", peers=theirs.address) as ours:
            ours.sync(5.0)
            assert [peer.key for peer in ours.peers] == [other.context.identity.device]
        with pytest.raises(UsageError, match="address"):
            node.join("yes", peers=["nowhere"])


def test_a_share_that_closes_leaves_the_topics_that_no_other_share_has(make, kit):
    node = make()
    kit.teach(node, "yes", "yes yes")
    patch, memory = node.train("yes"), JoinOptions("memory")
    other = node.seal(patch.adapter, domain="no")
    network = NodeNetwork(node.context)
    first = network.join(["yes", "no"], memory)
    second = network.join(["no"], JoinOptions(secret="hush"))
    third = network.join(["no"], JoinOptions())
    topics = [first.topics["yes"], second.topics["no"], third.topics["no"]]
    told = [
        network.library.publish(*pair) for pair in zip(topics, [patch, other, other], strict=True)
    ]

    def offered():
        return [
            network.library.heads(topic) == [one.id]
            for topic, one in zip(topics, told, strict=True)
        ]

    assert offered() == [True, True, True]
    first.close()
    assert offered() == [False, True, True]
    assert len(network.runner._member._topics) == 2
    second.close()
    assert offered() == [False, False, True]
    network.close()
    assert offered() == [False, False, False]
    with network.join(["yes"], memory) as fourth:
        third.close()  # of a network that is gone: it closes no other
        assert fourth.peers == ()
        with pytest.raises(UsageError, match="closed"):
            third.sync(0.1)


def test_live_listens_as_join_does(make):
    node = make()
    where = r"listen='0\.0\.0\.0:0'"
    for network in (node.join("yes", discover=False), node.live("yes", discover=False)):
        with network, pytest.raises(UsageError, match=where):
            node.join("yes", listen="127.0.0.1:5")


def test_a_domain_that_was_only_joined_is_answered_by_the_base(make):
    node = make()
    with pytest.raises(UsageError, match="nothing here is about"):
        node.ask("yes?", domain="yes", max_new_tokens=1)
    with node.join("yes", fabric="memory"):
        assert node.ask("yes?", domain="yes", max_new_tokens=1).route.experts == ()


def test_live_refuses_what_joining_has_not_before_anything_opens(make):
    node = make()
    for wrong in ({"bogus": 1}, {"hours": 5}, {"secret": 5}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            node.live("yes", fabric="memory", **wrong)
    assert node.status().writer is None


def test_a_patch_of_a_domain_not_joined_is_not_published(author):
    owner, patch = author
    with owner.join("other", fabric="memory") as swarm, pytest.raises(UsageError, match="'yes'"):
        swarm.publish(patch)


def test_a_background_run_in_a_swarm_receives_admits_and_stops_clean(make, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    with owner.join("yes", fabric="memory") as theirs:
        theirs.publish(patch)
        schedule = Schedule(("yes",), round_s=0.05, sync_s=1.0)
        network, joining = NodeNetwork(node.context), JoinOptions.of({"fabric": "memory"})
        with BackgroundRun(node.context, schedule, network, joining) as run:
            end = time.monotonic() + 30
            while not run.merged and time.monotonic() < end:
                time.sleep(0.02)
        assert run.merged[0].outcome == "admitted"
        assert run.errors == []
    assert node.status().writer is None


def test_live_lives_and_stops_twice_within_seconds(make, kit):
    node = make()
    run = node.live("yes", fabric="memory")
    began = time.monotonic()
    run.stop()
    run.stop()
    assert time.monotonic() - began < 10
    assert node.status().writer is None


@pytest.mark.parametrize("wrong", [None, 5, "patch", b"envelope"], ids=repr)
def test_what_is_no_patch_cannot_be_published(make, wrong):
    with (
        make().join("yes", fabric="memory") as swarm,
        pytest.raises(UsageError, match="sealed patch"),
    ):
        swarm.publish(wrong)


@pytest.mark.parametrize("wrong", [None, "5", -1.0, float("nan")], ids=repr)
def test_a_sync_waits_for_a_number_of_seconds(make, wrong):
    with make().join("yes", fabric="memory") as swarm, pytest.raises(UsageError, match="wait_s"):
        swarm.sync(wrong)
