"""A stream says what ask says, ends when its reader leaves, and knows its whole answer."""

import gc
import threading

import pytest

from hivelearn.errors import UsageError


def settled():
    """Wait until no stream speaks any more."""
    for thread in threading.enumerate():
        if thread.name == "hivelearn-stream":
            thread.join(timeout=10)
            assert not thread.is_alive()


@pytest.fixture
def node(make):
    return make()


@pytest.fixture
def passes(node):
    counted = []
    node.model.register_forward_hook(lambda *_: counted.append(1))
    return counted


def test_the_answer_of_a_stream_is_that_of_ask(node):
    stream = node.stream("Hi", max_new_tokens=7)
    assert "".join(stream) == stream.answer.text
    assert stream.answer == node.ask("Hi", max_new_tokens=7)
    assert node.stream("Hi", max_new_tokens=7).answer == node.ask("Hi", max_new_tokens=7)


def test_the_answer_of_a_stream_can_be_corrected(node):
    kept = node.stream("Hi", max_new_tokens=3).answer.correct("Hello", domain="manners")
    assert (kept.right, kept.domain) == ("Hello", "manners")


def leave_by_close(stream):
    stream.close()


def leave_a_block(stream):
    with stream:
        pass


LEAVING = {"close": leave_by_close, "the end of a block": leave_a_block}


@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING.keys())
def test_a_reader_who_leaves_ends_the_generation_within_a_token(node, passes, leave):
    stream = node.stream("Hi", max_new_tokens=150, temperature=1.0)
    first = next(stream)
    leave(stream)
    settled()
    assert len(passes) < 20  # not 150: how many were said meanwhile is up to the machine
    assert list(stream) == []
    answer = stream.answer
    assert answer.finish_reason == "cancelled"
    assert answer.text.startswith(first)
    assert answer.answer_tokens == len(passes)


def test_letting_go_of_a_stream_ends_it(node, passes):
    stream = node.stream("Hi", max_new_tokens=150, temperature=1.0)
    next(stream)
    del stream
    gc.collect()
    settled()
    assert len(passes) < 20


def test_nothing_is_generated_before_the_first_piece_is_asked_for(node, passes):
    stream = node.stream("Hi")
    stream.close()
    assert not passes
    assert (stream.answer.text, stream.answer.finish_reason) == ("", "cancelled")
    assert not passes


def test_what_is_no_question_is_refused_at_once(node):
    for bad in ("", [], [{"role": "user", "content": [{"type": "image_url"}]}]):
        with pytest.raises(UsageError):
            node.stream(bad)


def test_an_error_comes_to_the_reader_each_time_it_asks(node, monkeypatch):
    def broken(*_):
        raise RuntimeError("out of order")

    monkeypatch.setattr(node.engine, "generate", broken)
    stream = node.stream("Hi")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of order"):
            _ = stream.answer
