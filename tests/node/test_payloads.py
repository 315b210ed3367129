"""What this disk has lost is this machine's fault, silences nobody else, and training mends it."""

import json
import logging
from dataclasses import replace

import pytest

import hivelearn as hl
from hivelearn.cli import doctor_checks
from hivelearn.errors import DeviceError
from hivelearn.store.errors import DamagedBlobError, LostAdapterError
from hivelearn.store.generations import NEXT


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGE = {"a flipped bit": flip, "a missing file": lambda path: path.unlink()}


@pytest.fixture
def taught(make, kit):
    """A node with two specialists, of "yes" and of "no", and enough to judge them by."""
    node = make()
    for domain in ("yes", "no"):
        kit.teach(node, domain, f"{domain} {domain}", 16, 24)
        node.train(domain, replace(kit.TINY, steps=2))
        assert node.last_training.adopted
    return node


def served(node, domain):
    return node.context.generations.current(node.base, domain).specialist


def blob(node, domain):
    return node.context.blobs.path(served(node, domain).payload)


def merge_served(node, domain):
    """Serve a merge of the domain's specialist with itself: a payload that nobody signed."""
    context = node.context
    old = context.generations.current(node.base, domain)
    merged = hl.merge([context.adapters.get(old.specialist)])
    with context.store.writing("test"):
        name = context.blobs.put(merged.to_bytes(), merged.root().hex())
        specialist = replace(old.specialist, patch=None, payload=name)
        context.generations.commit(replace(old, number=NEXT, specialist=specialist))


@pytest.mark.parametrize("signed", [True, False], ids=["a patch", "a merge"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_one_lost_adapter_is_left_out_named_and_silences_nobody(
    taught, make, damage, signed, caplog
):
    if not signed:
        merge_served(taught, "yes")
    damage(blob(taught, "yes"))
    node = make()  # reads the disk anew
    with caplog.at_level(logging.WARNING, "hivelearn"):
        assert node.ask("What?", domain="yes").route.mode == "base"
        assert node.ask("What?", domain="no").route.mode == "stated"
        assert node.merge("other").outcome == "nothing to judge"
    (told,) = [record.getMessage() for record in caplog.records]  # once, not at every question
    number = 1 if signed else 2
    assert f"the specialist in 'yes', generation {number}, is lost: this blob is " in told
    assert "`hivelearn rollback yes`" in told
    assert "`hivelearn train yes`" in told
    status = node.status()
    assert status.problems == (told,)
    assert told in str(status)
    assert json.loads(status.to_json())["problems"] == [told]
    assert [d.serves for d in status.domains] == ["own specialist", "base model; 1 lost"]
    (row,) = doctor_checks.adapters(node.context)
    assert (row.state, f"{row.what}\n→ {row.todo}") == ("problem", told)
    node.rollback("yes")
    assert node.status().problems == ()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_training_again_heals_what_the_disk_has_lost(taught, make, kit, damage):
    whole, lost = blob(taught, "yes").read_bytes(), blob(taught, "yes")
    damage(lost)
    node = make()
    assert node.ask("What?", domain="yes").route.mode == "base"
    node.train("yes", replace(kit.TINY, steps=2))  # the same steps make the same bytes
    assert node.last_training.adopted
    assert lost.read_bytes() == whole
    assert node.ask("What?", domain="yes").route.mode == "stated"
    assert node.status().problems == ()
    (row,) = doctor_checks.adapters(node.context)
    assert (row.name, row.state) == ("adapters", "ok")


def test_a_merge_into_a_lost_specialist_is_refused_as_this_machines_fault(
    taught, make, author, kit
):
    other, patch = author
    flip(blob(taught, "yes"))
    node = make()
    node.vouch(other.key)
    assert kit.send(patch, node)
    with pytest.raises(LostAdapterError) as caught:
        node.merge("yes")
    assert (caught.value.domain, caught.value.generation, caught.value.exit_code) == ("yes", 1, 4)


def test_an_envelope_that_the_disk_has_changed_is_not_its_authors_fault(taught, make):
    context = make().context
    patch = served(taught, "yes").patch
    with context.store.writing("test"), context.store.database.transaction() as writer:
        writer.execute("UPDATE patches SET envelope = x'00' WHERE id = ?", (patch,))
    with pytest.raises(DamagedBlobError, match="has changed") as caught:
        context.adapters.patch(patch)
    assert isinstance(caught.value, DeviceError)


def test_the_status_of_a_home_without_usable_keys_is_read_all_the_same(make):
    node = make()
    assert node.key
    (node.home / "identity" / "device.key").write_bytes(b"short")
    status = make().status()
    assert (status.name, status.key) == ("(no keys)", "")
    (problem,) = status.problems
    assert "Restore the home's `identity` folder" in problem
    assert problem in str(status)
