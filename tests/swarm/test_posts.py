"""Posts are heard peer by peer in turn, and a flood drops its own."""

import asyncio

from hivelearn.swarm.fabrics.posts import POSTS_QUEUED_MAX, PostQueue

EVIL, FRIEND, OTHER = b"e" * 32, b"f" * 32, b"o" * 32


def heard(queue, count):
    async def main():
        return [await queue.get() for _ in range(count)]

    return asyncio.run(main())


def flooded():
    queue = PostQueue(lambda _: None)
    for number in range(10 * POSTS_QUEUED_MAX):
        queue.put(EVIL, b"%d" % number)
    return queue


def test_a_friends_post_does_not_stand_behind_a_flood():
    queue = flooded()
    queue.put(FRIEND, b"news")
    queue.put(OTHER, b"too")
    assert heard(queue, 3) == [(EVIL, b"0"), (FRIEND, b"news"), (OTHER, b"too")]


def test_a_flood_drops_its_own_posts_and_memory_is_bounded():
    queue = flooded()
    assert queue.dropped == 9 * POSTS_QUEUED_MAX
    for number in range(100):
        queue.put(FRIEND, b"%d" % number)
    found = heard(queue, POSTS_QUEUED_MAX)
    assert [data for peer, data in found if peer == FRIEND] == [b"%d" % n for n in range(100)]
    assert queue.dropped == 9 * POSTS_QUEUED_MAX + 100


def test_posts_of_one_peer_keep_their_order():
    queue = PostQueue(lambda _: None)
    for number in range(5):
        queue.put(EVIL, b"%d" % number)
    assert [data for _, data in heard(queue, 5)] == [b"0", b"1", b"2", b"3", b"4"]


def test_whoever_waits_hears_the_next_post():
    async def main():
        queue = PostQueue(lambda _: None)
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.put(FRIEND, b"news")
        return await waiting

    assert asyncio.run(main()) == (FRIEND, b"news")
