"""DR-KD of a text classifier with `drkd.self_distill`, offline: from which page of Python's manual is a line?

    python examples/text.py

The text comes with Python (`pydoc_data.topics`); the words are numbered here; the network is a small BERT of
transformers, made from a configuration.
"""

import re
from collections import Counter
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

import drkd

PAGES = ("debugger", "formatstrings", "specialnames", "compound")
LENGTH, WORDS = 16, 500


def words_of(page: str) -> list[list[str]]:
    """The lines of a page that hold at least six words."""
    lines = (re.findall("[a-z]+", line.lower()) for line in topics[page].splitlines())
    return [words for words in lines if len(words) >= 6]


def load(every: int = 1) -> drkd.Data:
    """Lines as numbers of words, 0 for no word, 1 for a rare one; every fifth line is for the test."""
    labelled = [(words, label) for label, page in enumerate(PAGES) for words in words_of(page)[::every]]
    train = [pair for i, pair in enumerate(labelled) if i % 5]
    test = [pair for i, pair in enumerate(labelled) if not i % 5]
    counts = Counter(word for words, _ in train for word in words)
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:WORDS]
    number = {word: i for i, word in enumerate(frequent, start=2)}

    def part(pairs: list[tuple[list[str], int]]) -> tuple[Tensor, Tensor]:
        rows = [[number.get(word, 1) for word in words[:LENGTH]] for words, _ in pairs]
        padded = torch.tensor([row + [0] * (LENGTH - len(row)) for row in rows])
        return padded, torch.tensor([label for _, label in pairs])

    return drkd.from_tensors(part(train), part(test), classes=PAGES, name="Python's manual")


class Classifier(nn.Module):
    """Numbers of words (B, L) to logits (B, K)."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = BertForSequenceClassification(
            BertConfig(
                vocab_size=WORDS + 2,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=LENGTH,
                num_labels=len(PAGES),
            )
        )

    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.bert(input_ids=words, attention_mask=(words != 0).long()).logits
        return logits


def main(epochs: int = 4, every: int = 1) -> drkd.SelfDistillation:
    """Train self-teacher and student, and measure both on the test lines."""
    torch.manual_seed(0)
    network, data = Classifier(), load(every)
    settings = {"epochs": epochs, "batch_size": 32, "lr": 3e-3, "optimizer": "adamw", "schedule": "cosine"}
    result = drkd.self_distill(network, data, drkd.dr_kd, **settings)
    print(
        f"{len(data.train)} lines to train: self-teacher {result.self_teacher_test.accuracy:.3f}, student "
        f"{result.student_test.accuracy:.3f}, rectified in the last epoch "
        f"{result.student_run.history[-1]['rectified']:.3f}"
    )
    return result


if __name__ == "__main__":
    main()
