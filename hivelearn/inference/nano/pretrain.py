"""Make the nano model: ``python -m hivelearn.inference.nano.pretrain --out DIR``.

One thread, one seed, one order of batches: the same machine and versions give the same
files bit for bit. Most rows are questions of ``tasks.py`` in the chat template, the rest
windows of ``texts.py``. The shipped files are what the defaults below make.

The vocabulary is the 256 bytes and five marks, so that nothing is unknown and any text
returns from its tokens as it was.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from hivelearn.inference.nano import card, head_start, tasks, texts, vocabulary

STEPS, SEED = 5000, 0
BATCH, POOL = 32, 16  # rows a step; batches drawn at once, sorted by length and shuffled
WARMUP, WEIGHT_DECAY = 50, 0.05
MATRIX_RATE, OTHER_RATE = 0.02, 3e-3  # of Muon and of AdamW
PROMPT_WEIGHT = 0.2  # of a question's tokens; an answer's weigh 1
TEXT_EVERY, TEXT_ROWS, TEXT_WINDOW = 8, 8, 160  # one step in so many reads prose

Batch = tuple[Tensor, Tensor]  # tokens (rows, length) int64, weights (rows, length) float32


def configuration() -> LlamaConfig:
    """Return the shape: 1.8 million parameters, embeddings tied."""
    return LlamaConfig(
        vocab_size=vocabulary.SIZE, hidden_size=192, intermediate_size=512, num_hidden_layers=4,
        num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=1024,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=vocabulary.END,
        pad_token_id=vocabulary.PAD,
    )  # fmt: skip


def conversation(turns: list[tuple[str, str]], system: str | None) -> tuple[list[int], list[float]]:
    """Return tokens and weights of a chat, as the chat template writes it."""
    tokens: list[int] = []
    weights: list[float] = []

    def say(role: int, text: str, weight: float, end_weight: float) -> None:
        content = vocabulary.to_tokens(text)
        tokens.extend([role, *content, vocabulary.END])
        weights.extend([0.0, *[weight] * len(content), end_weight])

    if system is not None:
        say(vocabulary.SYSTEM, system, 0.0, 0.0)
    for question, answer in turns:
        say(vocabulary.USER, question, PROMPT_WEIGHT, 0.0)
        say(vocabulary.ASSISTANT, answer, 1.0, 1.0)
    return tokens, weights


def _task_batches(seed: int) -> Iterator[Batch]:
    """Yield batches of about equal length rows: one turn mostly, sometimes two or a system line."""
    rng = random.Random(f"nano batches {seed}")
    drawn = tasks.items(seed, held_out=False)
    while True:
        rows = []
        for _ in range(BATCH * POOL):
            turns = [(i.question, i.answer) for i in islice(drawn, 2 if rng.random() < 0.08 else 1)]
            system = rng.choice(card.SYSTEM_LINES) if rng.random() < 0.04 else None
            rows.append(conversation(turns, system))
        rows.sort(key=lambda row: len(row[0]))
        groups = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
        rng.shuffle(groups)
        yield from map(_padded, groups)


def _padded(rows: list[tuple[list[int], list[float]]]) -> Batch:
    length = max(len(tokens) for tokens, _ in rows)
    tokens = torch.tensor([t + [vocabulary.PAD] * (length - len(t)) for t, _ in rows])
    return tokens, torch.tensor([w + [0.0] * (length - len(w)) for _, w in rows])


def _text_batches(seed: int) -> Iterator[Batch]:
    rng = random.Random(f"nano text {seed}")
    whole = vocabulary.to_tokens("\n".join(texts.paragraphs()))
    while True:
        starts = [rng.randrange(len(whole) - TEXT_WINDOW) for _ in range(TEXT_ROWS)]
        rows = torch.tensor([whole[s : s + TEXT_WINDOW] for s in starts])
        yield rows, torch.ones(rows.shape)


def batches(seed: int) -> Iterator[Batch]:
    """Yield training batches without end; every ``TEXT_EVERY``-th is prose."""
    spoken, written = _task_batches(seed), _text_batches(seed)
    while True:
        yield from islice(spoken, TEXT_EVERY - 1)
        yield next(written)


def weighted_loss(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Return sum(w·nll) / sum(w) in nats per token; padding stands right, so needs no mask."""
    tokens, weights = batch
    logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
    nats = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    kept = weights[:, 1:].flatten()
    return (nats * kept).sum() / kept.sum()


def pace(step: int, steps: int) -> float:
    """Return the share of the full learning rate: a climb, half a cosine down to a fiftieth."""
    share = max(0, step - WARMUP) / max(1, steps - WARMUP)
    return min(1.0, (step + 1) / WARMUP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Return Muon (arXiv:2502.16982) for the layers' matrices, AdamW for embeddings and norms."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, weight in model.named_parameters():
        (matrices if weight.ndim == 2 and "embed" not in name else rest).append(weight)
    return [
        torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=WEIGHT_DECAY),
        torch.optim.AdamW(rest, lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0, foreach=True),
    ]


def pretrain(steps: int, seed: int) -> LlamaForCausalLM:
    """Return the trained model in float32; prints a line every hundred steps."""
    torch.set_num_threads(1)  # sums in one order, whatever the machine
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(configuration()).train()
    head_start.initialise(model)
    both = optimizers(model)
    full = [optimizer.param_groups[0]["lr"] for optimizer in both]
    began, seen = time.process_time(), 0.0
    for step, batch in enumerate(islice(batches(seed), steps)):
        loss = weighted_loss(model, batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, rate in zip(both, full, strict=True):
            optimizer.param_groups[0]["lr"] = rate * pace(step, steps)
            optimizer.step()
            optimizer.zero_grad()
        seen += loss.item()
        if step % 100 == 99:
            cpu_s = time.process_time() - began
            sys.stdout.write(f"{step + 1} of {steps}: loss {seen / 100:.3f}, {cpu_s:.0f} CPU s\n")
            sys.stdout.flush()
            seen = 0.0
    return model.eval()


@torch.no_grad()
def exam(model: LlamaForCausalLM, n: int = 2000) -> dict[str, list[bool]]:
    """Return per task whether each held-out answer is exact, the end mark included.

    One forward pass judges as greedy decoding would: the answer comes out if and only if
    each of its tokens is the likeliest after those before it.
    """
    right: dict[str, list[bool]] = {}
    for item in tasks.held_out(n):
        tokens, _ = conversation([(item.question, item.answer)], None)
        answer = len(vocabulary.to_tokens(item.answer)) + 1
        likeliest = model(input_ids=torch.tensor([tokens])).logits[0, :-1].argmax(-1)
        right.setdefault(item.task, []).append(likeliest[-answer:].tolist() == tokens[-answer:])
    return right


def write(model: LlamaForCausalLM, folder: Path, facts: dict[str, Any]) -> None:
    """Write every file of the model: weights in bfloat16, which halves them, and the card.

    The exam is taken with the weights as stored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=vocabulary.END, pad_token_id=vocabulary.PAD
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    vocabulary.tokenizer().save_pretrained(folder)
    weights = folder / "model.safetensors"
    weights.chmod(0o644)
    right = exam(model.to(torch.float32))
    answers = [exact for of_task in right.values() for exact in of_task]
    measured = {
        "tasks": {name: sum(of_task) / len(of_task) for name, of_task in right.items()},
        "exact": sum(answers) / len(answers), "questions": len(answers),
        "parameters": model.num_parameters(), "bytes": weights.stat().st_size,
        "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
    }  # fmt: skip
    (folder / "README.md").write_text(card.text(facts | measured), encoding="utf-8")


def main() -> None:
    """Train with the arguments given and write the model."""
    parser = argparse.ArgumentParser(description="Make the nano model.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model's files")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args()
    began = time.process_time()
    model = pretrain(asked.steps, asked.seed)
    cpu_s = round(time.process_time() - began)
    write(model, asked.out, {"steps": asked.steps, "seed": asked.seed, "cpu_s": cpu_s})


if __name__ == "__main__":
    main()
