"""The shipped nano model: loads as any model does, returns every byte, knows only its tasks."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from hivelearn.demo.tasks import DOMAINS, questions
from hivelearn.inference.nano import tasks, texts, vocabulary

FOLDER = Path(str(files("hivelearn.inference.nano") / "model"))
BASE_EXACT_MIN = 0.80  # the card says what the shipped model reaches


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


@torch.no_grad()
def exact_share(model, tokenizer, pairs: list[tuple[str, str]]) -> float:
    """Return the share of answers that greedy decoding gives exactly, end mark included.

    Greedy decoding gives the expected tokens if and only if each of them is the most
    likely one after those before it, so one forward pass judges a whole batch.
    """
    right = 0
    for prompt, answer in pairs:
        start = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
        )
        wanted = [*tokenizer.encode(answer), vocabulary.END]
        logits = model(input_ids=torch.tensor([start + wanted])).logits[0]
        right += logits[len(start) - 1 : -1].argmax(-1).tolist() == wanted
    return right / len(pairs)


def test_the_files_are_those_of_a_real_llama_and_weigh_at_most_five_megabytes(model):
    assert isinstance(model, LlamaForCausalLM)
    assert 1_000_000 <= model.num_parameters() <= 3_000_000
    assert (FOLDER / "model.safetensors").stat().st_size <= 5_000_000
    assert json.loads((FOLDER / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert "Licence" in (FOLDER / "README.md").read_text()


def test_the_tokenizer_counts_bytes_and_knows_its_marks(tokenizer):
    assert len(tokenizer) == vocabulary.SIZE
    assert tokenizer.convert_tokens_to_ids(list(vocabulary.MARK_TEXTS)) == [0, 1, 2, 3, 4]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (vocabulary.PAD, vocabulary.END)
    assert tokenizer.encode("Ä 1") == vocabulary.to_tokens("Ä 1")


def test_any_text_returns_from_its_tokens_as_it_was(tokenizer):
    rng = random.Random(1)
    odd = ["", " ", "  two  spaces ", "a .b , c ' s n't", "\r\n\t\0", "𝔘🙂é́", "\u202e\ufeff"]
    for _ in range(300):
        points = (rng.randrange(rng.choice((0x80, 0x800, 0xD800, 0x110000))) for _ in range(40))
        odd.append("".join(chr(p) for p in points if not 0xD800 <= p <= 0xDFFF))
    for text in odd:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_chat_template_writes_turns_and_an_opening_for_the_answer(tokenizer):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Hi\n"},
        {"role": "assistant", "content": "Ho"},
        {"role": "user", "content": "And?"},
    ]
    closed = "<|system|>Be brief.<|end|><|user|> Hi\n<|end|>"
    closed += "<|assistant|>Ho<|end|><|user|>And?<|end|>"
    assert tokenizer.apply_chat_template(turns, tokenize=False) == closed
    opened = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert opened == closed + "<|assistant|>"
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert tokenizer.decode(ids) == opened
    assert [i for i in ids if i < vocabulary.MARKS] == [1, 4, 2, 4, 3, 4, 2, 4, 3]


def test_a_role_it_does_not_know_is_refused(tokenizer):
    with pytest.raises(Exception, match="knows no role tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_generate_is_greedy_and_stops_at_the_end_mark(model, tokenizer):
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Repeat: amber 42"}], add_generation_prompt=True,
        return_tensors="pt", return_dict=True,
    )  # fmt: skip
    told = model.generate(**prompt, max_new_tokens=30)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(told, skip_special_tokens=True) == "amber 42"
    assert told[-1] == vocabulary.END


def test_it_answers_its_own_tasks_on_questions_it_never_saw(model, tokenizer):
    items = tasks.held_out(300, seed=11)
    assert exact_share(model, tokenizer, [(i.question, i.answer) for i in items]) >= BASE_EXACT_MIN


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS.keys())
def test_it_knows_nothing_of_the_demonstration_s_subjects(domain, model, tokenizer):
    pairs = [(p.prompt, p.answer) for p in questions(domain, 0, 100)]
    assert exact_share(model, tokenizer, pairs) <= 0.05


def test_held_out_items_are_different_seeded_and_never_trained_on():
    items = tasks.held_out(400, seed=3)
    assert items == tasks.held_out(400, seed=3)
    assert len({i.question for i in items}) == 400
    assert {i.task for i in items} == set(tasks.TASKS)
    trained = tasks.items(3, held_out=False)
    assert not any(tasks.is_held_out(next(trained).question) for _ in range(2000))


def test_general_prompts_mix_tasks_and_prose_and_name_no_subject_of_the_demonstration():
    prompts = tasks.general_prompts(80, seed=2)
    assert prompts == tasks.general_prompts(80, seed=2)
    assert len(set(prompts)) == 80
    assert not any(w in p.lower() for p in prompts for w in ("roman", "iso date", "clock?"))


def test_there_is_prose_on_any_machine_with_python():
    assert sum(map(len, texts.paragraphs())) > 100_000


def test_two_processes_that_import_the_same_read_the_same_text():
    code = (
        "import hashlib; from hivelearn.inference.nano import texts;"
        "print(hashlib.sha256('\\n'.join(texts.paragraphs()).encode()).hexdigest())"
    )
    told = {subprocess.check_output([sys.executable, "-c", code]) for _ in range(2)}
    assert len(told) == 1
