"""The partial file of a payload: written in any order, trusted only after hashing."""

import random

from hivelearn.patch.chunks import CHUNK_BYTES, leaves_of
from hivelearn.swarm import partial_file

PAYLOAD = random.Random(0).randbytes(19 * CHUNK_BYTES + 5)  # 20 chunks
LEAVES = tuple(leaves_of(PAYLOAD))


def test_rehashing_finds_exactly_the_right_chunks(tmp_path):
    path = tmp_path / "deep" / "x.partial"
    assert partial_file.rehash(path, LEAVES) == frozenset()
    for index in (4, 0, 19):
        partial_file.write(path, index, PAYLOAD[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES])
    assert partial_file.rehash(path, LEAVES) == {0, 4, 19}
    torn = path.read_bytes()[: 4 * CHUNK_BYTES + 100]
    path.write_bytes(torn)
    assert partial_file.rehash(path, LEAVES) == {0}


def test_sealing_cuts_what_lies_behind_the_end(tmp_path):
    path = tmp_path / "x.partial"
    partial_file.write(path, 0, b"payload and leftovers")
    partial_file.finish(path, 7)
    assert path.read_bytes() == b"payload"
