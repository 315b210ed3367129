"""The Merkle root against the Certificate Transparency reference, and its laws."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.errors import PeerError
from hivelearn.patch import chunks
from hivelearn.patch.chunks import CHUNK_BYTES, check_payload, count, leaf, leaves_of, root

# The vectors of the Certificate Transparency reference (transparency-dev/merkle,
# testonly/constants.go): eight inputs, and the roots of the trees over the first n of them.
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_the_root_is_certificate_transparency_s(size):
    assert root([leaf(data) for data in INPUTS[:size]]).hex() == ROOTS[size]


def _by_the_book(leaves):
    """RFC 6962 §2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    both = _by_the_book(leaves[:split]) + _by_the_book(leaves[split:])
    return hashlib.sha256(b"\x01" + both).digest()


@given(st.integers(0, 300))
def test_pairing_from_the_left_builds_the_book_s_tree(size):
    leaves = [leaf(number.to_bytes(2, "big")) for number in range(size)]
    assert root(leaves) == _by_the_book(leaves)


@given(st.integers(1, 40), st.data())
def test_every_leaf_and_its_place_count(size, data):
    leaves = [leaf(bytes([number])) for number in range(size)]
    at = data.draw(st.integers(0, size - 1))
    assert root([*leaves[:at], leaf(b"other"), *leaves[at + 1 :]]) != root(leaves)
    assert root([*leaves, leaves[-1]]) != root(leaves)  # not Bitcoin's tree
    if size > 1:
        assert root(leaves[::-1]) != root(leaves)


def test_a_node_cannot_pose_as_a_chunk():
    left, right = leaf(b"left"), leaf(b"right")
    assert root([left, right]) != leaf(left + right)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_memory_and_file_have_equal_leaves(tmp_path, size):
    payload = bytes(range(256)) * (size // 256 + 1)
    payload = payload[:size]
    path = tmp_path / "payload"
    path.write_bytes(payload)
    assert leaves_of(payload) == leaves_of(path)
    assert len(leaves_of(payload)) == count(size)


@pytest.mark.parametrize(
    ("payload", "size"),
    [(b"a forgery..", 11), (b"the payloa", 11), (b"the payload", 12), (b"", 11)],
)
def test_bytes_that_were_not_signed_blame_who_delivered_them(payload, size):
    signed = b"the payload"
    expected = root(leaves_of(signed))
    check_payload(signed, expected, len(signed))
    with pytest.raises(PeerError) as caught:
        check_payload(payload, expected, size)
    assert (caught.value.code, caught.value.fault) == ("payload.hash", "relay")


def test_a_chunk_is_a_quarter_of_a_mebibyte_for_ever():
    assert chunks.CHUNK_BYTES == 262_144
