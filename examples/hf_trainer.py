"""A transformers.Trainer run whose LoRA becomes a signed patch, by one callback.

The callback waits before each forward pass while the machine must rest, and
seals the adapter when training ends. Everything else is the Trainer's.

Run: python examples/hf_trainer.py           (minutes)
     python examples/hf_trainer.py --quick   (seconds)
"""

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging

import hivelearn as hl
from hivelearn.demo import tasks


def example(tokenizer: Any, lesson: tasks.Pair) -> dict[str, list[int]]:
    """Return one conversation as the Trainer wants it; only the answer counts."""
    question = [{"role": "user", "content": lesson.prompt}]
    told = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
    before = tokenizer(told, add_special_tokens=False).input_ids
    answer = tokenizer(lesson.answer, add_special_tokens=False).input_ids
    after = [*answer, tokenizer.eos_token_id]
    ones = [1] * len(before + after)
    return {
        "input_ids": before + after,
        "attention_mask": ones,
        "labels": [-100] * len(before) + after,
    }


def main() -> None:
    """Train with the Trainer; adopt the patch unless it measures no better here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    logging.disable_progress_bar()  # of loading; the Trainer's own bar stays
    warnings.filterwarnings("ignore", category=FutureWarning)  # between PEFT and transformers

    with tempfile.TemporaryDirectory() as scratch, hl.Node(home=Path(scratch) / "home") as node:
        lessons = tasks.corrections(tasks.ISO_DATE, seed=0, n=80 if options.quick else 400)
        for lesson in lessons:
            node.correct(lesson.prompt, lesson.answer, domain="iso-date")
        seen = node.corrections.list("iso-date", holdout=False)  # the rest judges the result
        taught = [tasks.Pair(c.messages[-1].content, c.right, 0) for c in seen]

        folder = node.model.name_or_path  # train a copy: the node's own model stays as it is
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder)
        learnt = hl.SwarmCallback(node, "iso-date")
        Trainer(
            model=get_peft_model(model, LoraConfig(r=16, target_modules="all-linear")),
            args=TrainingArguments(
                output_dir=str(Path(scratch) / "run"),
                max_steps=3 if options.quick else options.steps,
                per_device_train_batch_size=8 if options.quick else 32,
                learning_rate=0.005,
                report_to=[],
                save_strategy="no",
                dataloader_pin_memory=False,
            ),
            train_dataset=[example(tokenizer, lesson) for lesson in taught],
            data_collator=DataCollatorForSeq2Seq(tokenizer),
            callbacks=[learnt],
        ).train()

        print(learnt.patch)
        print(node.adopt(learnt.patch))  # serves it here, unless it measures no better
        print(node.ask(lessons[0].prompt, domain="iso-date", max_new_tokens=16))


if __name__ == "__main__":
    main()
