"""Places are few and keys are free: every host its share."""

import pytest

from hivelearn.swarm.fabrics import lan_admission


def slots(*each):
    return [
        lan_admission.Slot(host, since, useful, who)
        for who, (host, since, useful) in enumerate(each)
    ]


TAKEN = {
    "the one longest without a use": ("x", [("a", 3, False), ("b", 1, False)], 1),
    "of the host that has most": ("x", [("b", 1, False), ("a", 3, False), ("a", 2, False)], 2),
    "nobody who has just come": ("x", [("a", 9, False), ("b", 9, False)], None),
    "nobody of use to a fair host": ("x", [("a", 1, True), ("b", 1, True)], None),
    "but of one that takes too much": ("x", [("b", 1, True), ("a", 3, True), ("a", 2, True)], 2),
    "the greedy only from themselves": ("a", [("b", 1, False), ("a", 3, False), ("a", 2, True)], 1),
    "the greedy from nobody else": ("a", [("b", 1, False), ("a", 3, True), ("a", 2, True)], None),
}


@pytest.mark.parametrize(("newcomer", "taken", "who"), TAKEN.values(), ids=TAKEN.keys())
def test_a_place_is_given_by_host_and_use(newcomer, taken, who):
    assert lan_admission.choose_evicted(newcomer, slots(*taken), settled_s=5) == who


def test_a_thousand_keys_of_one_host_leave_every_other_host_a_place():
    taken = slots(*(("evil", n, True) for n in range(255)), ("good", 300, True))
    for newcomer in ("x", "y", "z"):
        last = lan_admission.choose_evicted(newcomer, taken, settled_s=1_000)
        assert taken[last].host == "evil"
        taken[last] = lan_admission.Slot(newcomer, 400, useful=True, who=last)
    assert lan_admission.choose_evicted("evil", taken, settled_s=0) is None


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("192.168.1.5", "192.168.1.5"),
        ("::ffff:192.168.1.5", "192.168.1.5"),
        ("fe80::1%eth0", "fe80::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
    ],
)
def test_a_host_is_what_one_machine_cannot_make_up(address, host):
    assert lan_admission.host_of(address) == host
