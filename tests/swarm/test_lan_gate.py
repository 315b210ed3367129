"""Places are few and keys are free: every host its share."""

import pytest

from hivelearn.swarm.fabrics import lan_gate


def seats(*each):
    return [
        lan_gate.Seat(host, since, useful, who) for who, (host, since, useful) in enumerate(each)
    ]


ROOM = {
    "the one longest without a use": ("x", [("a", 3, False), ("b", 1, False)], 1),
    "of the host that has most": ("x", [("b", 1, False), ("a", 3, False), ("a", 2, False)], 2),
    "nobody who has just come": ("x", [("a", 9, False), ("b", 9, False)], None),
    "nobody of use to a fair host": ("x", [("a", 1, True), ("b", 1, True)], None),
    "but of one that takes too much": ("x", [("b", 1, True), ("a", 3, True), ("a", 2, True)], 2),
    "the greedy only from themselves": ("a", [("b", 1, False), ("a", 3, False), ("a", 2, True)], 1),
    "the greedy from nobody else": ("a", [("b", 1, False), ("a", 3, True), ("a", 2, True)], None),
}


@pytest.mark.parametrize(("newcomer", "taken", "who"), ROOM.values(), ids=ROOM.keys())
def test_a_place_is_given_by_host_and_use(newcomer, taken, who):
    assert lan_gate.make_room(newcomer, seats(*taken), settled_s=5) == who


def test_a_thousand_keys_of_one_host_leave_every_other_host_a_place():
    taken = seats(*(("evil", n, True) for n in range(255)), ("good", 300, True))
    for newcomer in ("x", "y", "z"):
        last = lan_gate.make_room(newcomer, taken, settled_s=1_000)
        assert taken[last].host == "evil"
        taken[last] = lan_gate.Seat(newcomer, 400, useful=True, who=last)
    assert lan_gate.make_room("evil", taken, settled_s=0) is None


def test_the_pace_of_one_host_is_no_other_hosts():
    pace = lan_gate.Pace()
    while pace.take("evil", 0.0):
        pass
    assert pace.take("good", 0.0)
    assert not pace.take("evil", 0.0)
    assert pace.take("evil", 1.0)
    for n in range(2 * lan_gate.HOSTS_MAX):
        pace.take(str(n), 1.0)
    assert len(pace._buckets) == lan_gate.HOSTS_MAX


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
    assert lan_gate.host_of(address) == host
