"""A plain torch loop, paced by the governor, whose LoRA is offered to others.

The loop stays yours: ``governor.paced(loader)`` gives the same batches in the
same order and only waits while the machine is hot, on battery or in use. The
LoRA becomes a signed patch that whoever has joined the domain can fetch.

Run: python examples/torch_loop.py           (minutes)
     python examples/torch_loop.py --quick   (seconds)
"""

import argparse
import tempfile
import warnings
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

import hivelearn as hl
from hivelearn.demo import tasks

IGNORED = -100  # labels that transformers leaves out of the loss


def example(tokenizer: Any, lesson: tasks.Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (tokens, labels) of one conversation, both (n,) int64; only the answer counts."""
    question = [{"role": "user", "content": lesson.prompt}]
    told = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
    before = tokenizer(told, add_special_tokens=False).input_ids
    answer = tokenizer(lesson.answer, add_special_tokens=False).input_ids
    after = [*answer, tokenizer.eos_token_id]
    labels = [IGNORED] * len(before) + after
    return torch.tensor(before + after), torch.tensor(labels)


def collate(rows: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return a batch, padded on the right."""
    tokens, labels = zip(*rows, strict=True)
    return {
        "input_ids": pad_sequence(tokens, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(t) for t in tokens], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


def main() -> None:
    """Train with torch alone, then seal and publish."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    logging.disable_progress_bar()  # of loading: a small model needs none
    warnings.filterwarnings("ignore", category=FutureWarning)  # between PEFT and transformers
    torch.manual_seed(0)

    with tempfile.TemporaryDirectory() as home, hl.Node(home=home) as node:
        folder = node.model.name_or_path  # train a copy: the node's own model stays as it is
        model = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
        lessons = tasks.corrections(tasks.CLOCK12, seed=0, n=16 if options.quick else 400)
        rows: list[Any] = [example(tokenizer, lesson) for lesson in lessons]
        loader = DataLoader(rows, batch_size=8, shuffle=True, collate_fn=collate)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)

        governor = hl.Governor(on_change=lambda permit: print(permit.why))
        for epoch in range(1 if options.quick else options.epochs):
            for batch in governor.paced(loader):
                loss = model(**batch).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            print(f"epoch {epoch}: loss {loss.item():.3f}")

        patch = node.seal(hl.Adapter.from_model(model), domain="clock12")
        print(patch)
        with node.join("clock12", listen="127.0.0.1:0", discover=False) as swarm:
            swarm.publish(patch)
            print(f"published; others reach it with --peer {swarm.address}")


if __name__ == "__main__":
    main()
