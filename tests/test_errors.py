"""Errors say whose fault it is, what happened and what to do, also in another process."""

import pickle

import pytest

from hivelearn.errors import DeviceError, HivelearnError, PeerError, UsageError


class OddError(PeerError):
    """A subclass with a signature of its own, as rooms define them."""

    fault = "author"
    code = "odd"

    def __init__(self, patch: bytes) -> None:
        self.patch = patch
        super().__init__(f"patch {patch.hex()} is odd")


def test_it_prints_what_happened_and_on_a_second_line_what_to_do():
    error = UsageError("the file is empty", remedy="Give a file with text.")
    assert str(error) == "the file is empty\n→ Give a file with text."
    assert error.what == "the file is empty"


@pytest.mark.parametrize("kind", [HivelearnError, UsageError, PeerError, DeviceError])
def test_every_kind_of_blame_has_a_remedy_without_being_given_one(kind):
    assert len(kind("it broke").remedy) > 10


def test_each_kind_of_blame_ends_the_command_line_with_its_own_code():
    codes = [kind.exit_code for kind in (HivelearnError, UsageError, PeerError, DeviceError)]
    assert len(set(codes)) == 4
    assert 0 not in codes


def test_a_remedy_of_one_error_is_not_the_class_s():
    UsageError("one", remedy="Only here.")
    assert UsageError("two").remedy != "Only here."


def test_fault_and_code_can_be_said_for_one_error():
    error = PeerError("late", fault="nobody", code="late")
    assert (error.fault, error.code) == ("nobody", "late")
    assert (PeerError("bad").fault, PeerError("bad").code) == ("relay", "peer")


@pytest.mark.parametrize(
    "error",
    [
        UsageError("what", remedy="do"),
        PeerError("what", fault="nobody", code="c", remedy="wait"),
        OddError(b"\1\2"),
        DeviceError("hot"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_trip_between_processes(error):
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert there.__dict__ == error.__dict__
