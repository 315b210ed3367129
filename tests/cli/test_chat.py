"""A conversation: lines in, answers out, and a wrong one put right on the spot."""

import pytest
import torch

import hivelearn as hl
from hivelearn.cli.chat import Conversation
from hivelearn.errors import UsageError
from hivelearn.testing.models import small_model


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.set_num_threads(1)
    return small_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def talk(base, tmp_path):
    said = []
    with hl.Node(base, home=tmp_path / "home", progress=False) as node:
        conversation = Conversation(node, said.append, max_new_tokens=4)
        conversation.said = said
        yield conversation


def test_a_wrong_answer_is_corrected_and_the_talk_goes_on_from_what_is_right(talk):
    for line in ("/domain roman", "Write 14 in Roman numerals.", "/right XIV", "And 15?"):
        assert talk.take(line)
    assert "kept; corrections of roman: 1" in "".join(talk.said)
    (kept,) = talk.node.context.journal.list()
    assert (kept.right, kept.domain) == ("XIV", "roman")
    assert kept.messages[-1].content == "Write 14 in Roman numerals."
    roles = [(m["role"], m["content"]) for m in talk.messages]
    assert roles[:3] == [
        ("user", "Write 14 in Roman numerals."),
        ("assistant", "XIV"),
        ("user", "And 15?"),
    ]


def test_who_answered_is_said_behind_every_answer(talk):
    talk.take("Hello")
    assert talk.said[-1] == "\n— base model\n"


def test_new_forgets_the_conversation_and_keeps_the_corrections(talk):
    for line in ("/domain roman", "14?", "/right XIV", "/new"):
        talk.take(line)
    assert (talk.messages, talk.last) == ([], None)
    assert talk.node.corrections.counts()["roman"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["/right XIV"], "no answer to correct"),
        (["14?", "/right XIV"], "what it is about"),
        (["/domain roman", "14?", "/right"], "right answer is missing"),
        (["/rihgt XIV"], "no command /rihgt"),
    ],
)
def test_a_command_that_cannot_be_is_told_and_changes_nothing(talk, lines, told):
    *before, last = lines
    for line in before:
        talk.take(line)
    was = list(talk.messages)
    with pytest.raises(UsageError, match=told):
        talk.take(last)
    assert talk.messages == was


def test_a_domain_that_is_new_is_said_to_be_and_a_mistyped_one_gets_the_name_that_was_meant(talk):
    talk.take("/domain lengths")
    assert talk.said[-1] == "about lengths, which is new: its first correction begins it\n"
    for line in ("How long?", "/right 3 mm", "/domain lenghts"):
        talk.take(line)
    assert "if you meant lengths: /domain lengths" in talk.said[-1]
    with pytest.raises(UsageError, match="no domain name"):
        talk.take("/domain Bad Name!")
    assert talk.domain == "lenghts"


def test_a_conversation_that_is_full_names_the_way_on(talk):
    with pytest.raises(UsageError) as refused:
        talk.take("word " * 20_000)
    assert "/new" in refused.value.remedy


def test_ctrl_c_ends_an_answer_and_not_the_conversation(talk):
    pieces = []

    def write(text):
        pieces.append(text)
        if len(pieces) == 1:
            raise KeyboardInterrupt

    talk.write, talk.max_new_tokens = write, 200
    assert talk.take("Tell me a long story.")
    assert talk.last.finish_reason == "cancelled"
    assert talk.messages[-1] == {"role": "assistant", "content": talk.last.text}


def test_a_file_of_lines_is_a_conversation_too(base, call):
    lines = "/domain roman\n14?\n/rihgt XIV\n/right XIV\n/quit\nnever asked\n"
    done = call("chat", "--model", str(base), "--max-new-tokens", "3", typed=lines)
    assert done.exit_code == 2  # nobody sees the lines go by
    assert "kept; corrections of roman: 1" in done.stdout
    assert "no command /rihgt: did you mean 'right'?" in done.stderr
    assert done.stdout.count("— ") == 1
