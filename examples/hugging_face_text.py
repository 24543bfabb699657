"""DR-KD of a small text classifier with Hugging Face's Trainer, offline: from which page of Python's manual is a line?

    python examples/hugging_face_text.py

The text comes with Python (`pydoc_data.topics`), the tokenizer is made here, the network is made from a configuration.
"""

import re
import tempfile
from functools import partial
from pydoc_data.topics import topics
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, TrainingArguments, set_seed

import drkd
from drkd.integrations.transformers import SelfDistillationTrainer

PAGES = ("debugger", "formatstrings", "specialnames", "compound")


def lines_of(page: str) -> list[str]:
    """The lines of a page that hold at least six words."""
    return [line.strip().lower() for line in topics[page].splitlines() if len(re.findall("[a-zA-Z]+", line)) >= 6]


def make_tokenizer(lines: list[str], words: int = 500) -> PreTrainedTokenizerFast:
    """A tokenizer that knows the most frequent words of `lines`."""
    counts: dict[str, int] = {}
    for word in " ".join(lines).split():
        counts[word] = counts.get(word, 0) + 1
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:words]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["[PAD]", "[UNK]", *frequent])}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")


def make_rows(every: int = 1) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Rows for training and for the test, and the size of the vocabulary; of every so many lines one is taken."""
    labelled = [(line, label) for label, page in enumerate(PAGES) for line in lines_of(page)[::every]]
    train = [pair for i, pair in enumerate(labelled) if i % 5]
    test = [pair for i, pair in enumerate(labelled) if not i % 5]
    tokenizer = make_tokenizer([line for line, _ in train])
    settings = {"padding": "max_length", "max_length": 16, "truncation": True, "return_token_type_ids": False}

    def rows(pairs: list[tuple[str, int]]) -> list[dict[str, Any]]:
        return [{**tokenizer(line, **settings), "labels": label} for line, label in pairs]

    return rows(train), rows(test), len(tokenizer)


def make_model(vocabulary: int) -> BertForSequenceClassification:
    """A BERT of two small layers."""
    set_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=16,
            num_labels=len(PAGES),
        )
    )


def accuracy(predicted: Any) -> dict[str, float]:
    """The part of the rows that is right."""
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def main(epochs: int = 3, every: int = 1) -> dict[str, float]:
    """Train self-teacher and student; their accuracies on the test rows."""
    train, test, vocabulary = make_rows(every)
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=16,
            gradient_accumulation_steps=2,
            learning_rate=3e-3,
            logging_strategy="epoch",
            save_strategy="epoch",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        )
        trainer = SelfDistillationTrainer(
            make_model(vocabulary),
            args,
            method=partial(drkd.dr_kd, alpha=0.3, temperature=2.0),
            train_dataset=train,
            eval_dataset=test,
            compute_metrics=accuracy,
        )
        trainer.train()
        student = trainer.evaluate()["eval_accuracy"]
        trainer.model.load_state_dict(trainer.self_teacher.state_dict())
        self_teacher = trainer.evaluate()["eval_accuracy"]
    rectified = [round(row["rectified"], 3) for row in trainer.state.log_history if "rectified" in row]
    print(f"{len(train)} lines to train, {len(test)} to test, {len(PAGES)} pages")
    print(f"self-teacher {self_teacher:.3f}, student {student:.3f}, rectified per epoch {rectified}")
    return {"self_teacher": self_teacher, "student": student, "rectified": rectified[-1]}


if __name__ == "__main__":
    main()
