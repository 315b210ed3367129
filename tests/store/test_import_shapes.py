"""Rows of other tools mean what they mean there, or are refused by the name of what is in them."""

import pytest

from hivelearn.store.errors import CorrectionError
from hivelearn.store.import_shapes import corrected

Q, A, BAD = "Write 14 in Roman numerals.", "XIV", "XIIII"
BRIEF = {"role": "system", "content": "Be brief."}
ASK = {"role": "user", "content": Q}
SAY = {"role": "assistant", "content": A}
SAY_BAD = {"role": "assistant", "content": BAD}
EARLIER = [{"role": "user", "content": "9?"}, {"role": "assistant", "content": "IX"}]
HUMAN, GPT = {"from": "human", "value": Q}, {"from": "gpt", "value": A}
PICTURE = {"type": "image_url", "image_url": {"url": "data:"}}


def parts(text):
    return [{"type": "text", "text": text}]


SHAPES = {  # row -> messages, right, wrong
    "prompt and right": ({"prompt": Q, "right": A}, [ASK], A, None),
    "messages and right": ({"messages": [BRIEF, ASK], "right": A}, [BRIEF, ASK], A, None),
    "OpenAI": ({"messages": [BRIEF, ASK, SAY]}, [BRIEF, ASK], A, None),
    "OpenAI, developer": (
        {"messages": [BRIEF | {"role": "developer"}, ASK, SAY]},
        [BRIEF, ASK],
        A,
        None,
    ),
    "OpenAI, parts": (
        {"messages": [ASK | {"content": parts(Q)}, SAY | {"content": parts("X") + parts("IV")}]},
        [ASK],
        A,
        None,
    ),
    "OpenAI, name and weight": (
        {"messages": [ASK | {"name": "ann"}, SAY | {"weight": 1, "refusal": None}]},
        [ASK],
        A,
        None,
    ),
    "OpenAI, several turns": ({"messages": [*EARLIER, ASK, SAY]}, [*EARLIER, ASK], A, None),
    "ShareGPT": ({"conversations": [HUMAN, GPT]}, [ASK], A, None),
    "ShareGPT with a system prompt": (
        {"conversations": [HUMAN, GPT], "system": "Be brief.", "tools": None},
        [BRIEF, ASK],
        A,
        None,
    ),
    "ShareGPT, other names": (
        {"conversations": [{"role": "user", "value": Q}, {"from": "model", "content": A}]},
        [ASK],
        A,
        None,
    ),
    "Alpaca": ({"instruction": Q, "input": "", "output": A}, [ASK], A, None),
    "Alpaca with an input": (
        {"instruction": "In Roman numerals:", "input": "14", "output": A},
        [{"role": "user", "content": "In Roman numerals:\n\n14"}],
        A,
        None,
    ),
    "Alpaca with a history": (
        {"instruction": Q, "output": A, "system": "Be brief.", "history": [["9?", "IX"]]},
        [BRIEF, *EARLIER, ASK],
        A,
        None,
    ),
    "Dolly": ({"instruction": Q, "context": None, "response": A}, [ASK], A, None),
    "DPO": ({"prompt": Q, "chosen": A, "rejected": BAD}, [ASK], A, BAD),
    "DPO of turns": (
        {"prompt": [BRIEF, ASK], "chosen": [SAY], "rejected": [SAY_BAD]},
        [BRIEF, ASK],
        A,
        BAD,
    ),
    "DPO of one turn": (
        {"conversations": [HUMAN], "chosen": GPT, "rejected": GPT | {"value": BAD}},
        [ASK],
        A,
        BAD,
    ),
    "DPO that repeats the question": (
        {"prompt": Q, "chosen": [ASK, SAY], "rejected": [ASK, SAY_BAD]},
        [ASK],
        A,
        BAD,
    ),
    "DPO without a prompt": ({"chosen": [ASK, SAY], "rejected": [ASK, SAY_BAD]}, [ASK], A, BAD),
    "prompt and completion": ({"prompt": Q, "completion": A}, [ASK], A, None),
    "prompt and completion of turns": ({"prompt": [ASK], "completion": [SAY]}, [ASK], A, None),
    "prompt and response": ({"prompt": Q, "response": A}, [ASK], A, None),
    "question and answer": ({"question": Q, "answer": A}, [ASK], A, None),
    "query and response": ({"query": Q, "response": A}, [ASK], A, None),
    "input and output": ({"input": Q, "output": A}, [ASK], A, None),
    "a number as answer": ({"prompt": Q, "right": 42}, [ASK], "42", None),
}


@pytest.mark.parametrize(("row", "messages", "right", "wrong"), SHAPES.values(), ids=SHAPES.keys())
def test_a_row_of_another_tool_is_a_question_with_its_right_answer(row, messages, right, wrong):
    said, passed_over = corrected({**row, "subject": None})
    assert (said["messages"], said["right"], said["wrong"]) == (messages, right, wrong)
    assert passed_over == set()


REFUSED = {
    "tools": ({"messages": [ASK, SAY], "tools": [{}]}, "'tools'"),
    "functions": ({"messages": [ASK, SAY], "functions": [{}]}, "'functions'"),
    "a tool's message": ({"messages": [ASK, {"role": "tool", "content": "1"}, SAY]}, "'tool'"),
    "a function's message": ({"messages": [ASK, {"role": "function", "content": "1"}]}, "function"),
    "a tool call": (
        {"messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [{}]}]},
        "'tool_calls'",
    ),
    "ShareGPT's tool": (
        {"conversations": [HUMAN, {"from": "function_call", "value": "{}"}, GPT]},
        "function_call",
    ),
    "ShareGPT's observation": (
        {"conversations": [HUMAN, {"from": "observation", "value": ""}]},
        "'observation'",
    ),
    "a picture": ({"messages": [ASK | {"content": [PICTURE]}, SAY]}, "'image_url'"),
    "pictures beside": ({"prompt": Q, "right": A, "images": ["a.png"]}, "'images'"),
    "a role of nobody": ({"messages": [ASK | {"role": "narrator"}, SAY]}, "'narrator'"),
    "a role that is a number": ({"messages": [ASK | {"role": 1}, SAY]}, "role"),
    "no role": ({"messages": [{"content": Q}, SAY]}, "role"),
    "no content": ({"messages": [{"role": "user"}, SAY]}, "exactly a role and a content"),
    "more than a message": ({"messages": [ASK | {"mood": "good"}, SAY]}, "'mood'"),
    "the model's refusal": (
        {"messages": [ASK, {"role": "assistant", "refusal": "No.", "content": None}]},
        "exactly",
    ),
    "no answer at the end": ({"messages": [BRIEF, ASK]}, "without an answer"),
    "no turns": ({"messages": [], "right": A}, "no list of messages"),
    "text as messages": ({"messages": "hello"}, "no list of messages"),
    "a number as message": ({"conversations": [1]}, "no object"),
    "a rating": ({"prompt": Q, "completion": A, "label": False}, "'label'"),
    "text to continue": ({"text": "Once upon a time"}, "no question (its fields: text)"),
    "DPO in one text": ({"chosen": "Human: 1? Assistant: I", "rejected": "…"}, "no question"),
    "DPO of two questions": (
        {"chosen": [ASK, SAY], "rejected": [ASK | {"content": "9?"}, SAY]},
        "different questions",
    ),
    "an answer to another question": (
        {"prompt": "9?", "chosen": [ASK, SAY], "rejected": [SAY]},
        "no answer to this prompt",
    ),
    "an answer by the user": ({"prompt": Q, "completion": [ASK]}, "no answer"),
    "a history of text": ({"instruction": Q, "output": A, "history": ["9?"]}, "pairs"),
    "true as answer": ({"prompt": Q, "completion": True}, "bool where text"),
    "a price as answer": ({"prompt": Q, "completion": 4.5}, "in quotes"),
    "two questions": ({"prompt": Q, "completion": A, "messages": [ASK]}, "give either"),
    "two answers": ({"prompt": Q, "completion": A, "response": A}, "two answers"),
}


@pytest.mark.parametrize(("row", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_learnt_is_refused_by_name(row, why):
    with pytest.raises(CorrectionError) as caught:
        corrected(row)
    assert why in caught.value.what


def test_fields_of_other_tools_are_passed_over_and_named():
    row = {"question": Q, "answer": A, "source": "web", "score": 4.5, "domain": "roman"}
    said, passed_over = corrected(row)
    assert passed_over == {"source", "score"}
    assert said["domain"] == "roman"


def test_what_a_table_widens_is_narrowed_again():
    row = {"prompt": Q, "right": A, "generation": 2.0, "wrong": float("nan"), "created_s": 1.0}
    said, _ = corrected(row)
    assert (said["generation"], said["wrong"], said["created_s"]) == (2, None, 1.0)
