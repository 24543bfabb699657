import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from drkd.training.metrics import measure
from drkd.training.mistakes import MOST_PAIRS, SUREST, count_confusions, surest_wrong_labels

CLASSES = [f"c{k}" for k in range(5)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_confusions_are_scikit_learns_and_leave_ignored_labels_out(pairs):
    labels, predicted = (torch.tensor(column) for column in zip(*pairs, strict=True))
    found = count_confusions(predicted, labels.where(labels >= 0, -100), CLASSES)
    known = labels >= 0
    wanted = {}
    if known.any():
        matrix = confusion_matrix(labels[known], predicted[known], labels=range(5))
        wanted = {(i, j): matrix[i, j] for i in range(5) for j in range(5) if i != j and matrix[i, j]}
    assert {(CLASSES.index(a), CLASSES.index(b)): n for a, of in found.items() for b, n in of.items()} == wanted


def test_of_many_pairs_the_most_frequent_are_kept():
    count = 30
    labels = torch.arange(count).repeat_interleave(count)
    predicted = torch.arange(count).repeat(count)
    twice = torch.cat([labels, torch.tensor([29])]), torch.cat([predicted, torch.tensor([28])])
    found = count_confusions(twice[1], twice[0], [str(k) for k in range(count)])
    assert sum(len(of) for of in found.values()) == MOST_PAIRS
    assert next(iter(found.items())) == ("29", {"28": 2})


def test_the_surest_mistakes_come_first():
    logits = torch.zeros(40, 5)
    logits[torch.arange(40), 1] = (1 + torch.arange(40)) / 10
    labels = torch.tensor([1, 0] * 20)
    found = measure(logits, labels, CLASSES).mistakes
    assert [each["index"] for each in found] == list(range(39, 39 - 2 * SUREST, -2))
    assert (found[0]["label"], found[0]["predicted"]) == ("c0", "c1")
    assert abs(found[0]["probability"] - logits[39].double().softmax(0)[1].item()) < 1e-12
    assert measure(logits, torch.ones(40).long(), CLASSES).mistakes == []


def test_mistakes_about_several_labels_name_what_is_there_and_what_is_not():
    probs = torch.tensor([[0.9, 0.2, 0.6], [0.1, 0.8, 0.5]])
    labels = torch.tensor([[0, 1, -100], [1, 1, 0]])
    found = [tuple(each.values())[:3] for each in surest_wrong_labels(probs, labels, ["cat", "dog", "cow"])]
    assert sorted(found[:2]) == [(0, "no cat", "cat"), (1, "cat", "no cat")]
    assert found[2] == (0, "dog", "no dog")
    assert len(found) == 3
