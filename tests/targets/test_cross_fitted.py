"""Each row is answered by the network that was not trained on its sample."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import drkd
from drkd import CrossFitted, Frozen, InputError, StudentBatch, TeacherCache
from drkd.utils.labels import mix_labels

K = 3
FOLD = torch.tensor([0, 1, 2, 1, 0, 2, 2, 1])


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, K))


def batch_of(index, inputs, mixed=None):
    labels = torch.zeros(len(index), dtype=torch.int64)
    return StudentBatch(torch.zeros(len(index), K), labels, inputs, torch.tensor(index).long(), mixed=mixed)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, len(FOLD) - 1), max_size=8))
def test_every_row_is_what_the_network_of_its_fold_says_alone(index):
    networks = [network(seed).eval() for seed in range(3)]
    inputs = torch.randn(len(index), 2, generator=torch.Generator().manual_seed(1))
    target = CrossFitted(networks, FOLD)
    for _ in range(2):  # the first call chooses between folded and original batch norms
        output = target(batch_of(index, inputs))
        assert output.valid is None
        assert not output.logits.requires_grad
        for row, sample in enumerate(index):
            expected = networks[FOLD[sample]](inputs[row : row + 1])[0]
            torch.testing.assert_close(output.logits[row], expected, atol=1e-5, rtol=1e-5)


def test_the_networks_are_copies_in_eval_mode_without_a_state():
    given = [network(0).train(), network(1).train()]
    target = CrossFitted(given, torch.tensor([0, 1])).train()
    before = target(batch_of([0, 1], torch.ones(2, 2))).logits
    with torch.no_grad():
        given[0][0].weight.zero_()
    assert torch.equal(target(batch_of([0, 1], torch.ones(2, 2))).logits, before)
    assert list(target.state_dict()) == []
    assert sorted(target.needs) == ["index", "inputs"]


def test_a_mixed_image_is_answered_for_the_sample_that_it_has_most_of():
    teachers = [lambda inputs, number=number: torch.full((len(inputs), K), float(number)) for number in range(3)]
    weight, partner = torch.tensor([0.9, 0.2, 0.5]), torch.tensor([1, 2, 0])
    mixed = mix_labels(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0]), weight, num_classes=K)
    mixed = drkd.MixedLabels(mixed.probs, weight=weight, partner_index=partner)
    target = CrossFitted(teachers, torch.tensor([0, 1, 2]))
    assert target(batch_of([0, 1, 2], torch.zeros(3, 2), mixed)).logits[:, 0].tolist() == [0, 2, 2]


def test_its_identity_is_that_of_the_networks_and_folds():
    one, other = [network(0), network(1)], [network(0), network(2)]
    fold = torch.tensor([0, 1, 1])
    identity = CrossFitted(one, fold).identity
    assert identity == CrossFitted(one, fold).identity
    assert identity != CrossFitted(other, fold).identity
    assert identity != CrossFitted(one, 1 - fold).identity


def test_answers_are_kept_as_those_of_one_network_are(tmp_path):
    networks = [network(0), network(1)]
    fold, inputs = torch.tensor([0, 1, 1]), torch.randn(3, 2)
    expected = CrossFitted(networks, fold)(batch_of([2, 0, 1], inputs)).logits
    for found in (0, 1):
        cache = TeacherCache(tmp_path, {"teacher": "these"}, limit=10**6)
        target = drkd.Cached(CrossFitted(networks, fold), cache, samples=3)
        output = target(batch_of([2, 0, 1], inputs))
        assert torch.equal(output.logits, expected.half().float())
        target.update(epoch=1)
        assert target.found == {0: bool(found)}


def test_rectified_by_the_labels_like_any_other():
    teachers = [lambda inputs: inputs, lambda inputs: -inputs]
    target = drkd.Rectified(CrossFitted(teachers, torch.tensor([0, 1])))
    output = target(batch_of([0, 1], torch.tensor([[1.0, 2.0, 0.0], [1.0, 2.0, 3.0]])))
    assert output.logits.tolist() == [[2, 1, 0], [-1, -2, -3]]
    assert output.changed.tolist() == [True, False]


@pytest.mark.parametrize(
    ("teachers", "fold", "message"),
    [
        ([nn.Linear(2, 3)], torch.tensor([0]), "needs two teachers or more"),
        ([nn.Linear(2, 3)] * 2, [0, 1], "fold of each sample as a tensor"),
        ([nn.Linear(2, 3)] * 2, torch.tensor([0.0, 1.0]), "whole numbers"),
        ([nn.Linear(2, 3)] * 2, torch.tensor([0, 2]), "folds 0 to 1, got folds from 0 to 2"),
        ([nn.Linear(2, 3), 5], torch.tensor([0, 1]), "a teacher must be a network"),
    ],
)
def test_what_cannot_be_is_refused(teachers, fold, message):
    with pytest.raises(InputError, match=message):
        CrossFitted(teachers, fold)


def test_calls_that_do_not_fit_are_refused():
    target = CrossFitted([nn.Linear(2, 3)] * 2, torch.tensor([0, 1]))
    with pytest.raises(InputError, match="knows the folds of 2 samples, got the index 2"):
        target(batch_of([0, 2], torch.zeros(2, 2)))
    with pytest.raises(InputError, match="needs the samples' index"):
        target(StudentBatch(torch.zeros(1, 3), torch.tensor([0]), torch.zeros(1, 2)))
    with pytest.raises(InputError, match="inputs as one tensor"):
        target(batch_of([0], {"pixels": torch.zeros(1, 2)}))
    other = CrossFitted([nn.Linear(2, 3), nn.Linear(2, 4)], torch.tensor([0, 1]))
    with pytest.raises(InputError, match="teacher of fold 1 gives logits"):
        other(batch_of([0, 1], torch.zeros(2, 2)))
    assert isinstance(target.parts[0], Frozen)
