"""What a student says of each sample, on average over its visits."""

import pytest
import torch
from torch import nn

import drkd
from drkd import InputError, MixedLabels
from drkd.targets.answers import Answers, watch

LABELS = torch.tensor([0, 1])


def test_it_is_the_mean_of_the_probabilities_of_the_steps_that_were_made():
    objective = drkd.cross_entropy()
    answers = watch(objective)
    first, second, skipped = torch.randn(3, 2, 4).unbind()
    alone = drkd.cross_entropy()(first, LABELS)["loss"]
    answers.size = 3
    assert torch.equal(objective(first, LABELS, index=torch.tensor([0, 2]))["loss"], alone)
    objective.update()
    objective(skipped, LABELS, index=torch.tensor([0, 1]))
    objective.discard()
    objective(second, LABELS, index=torch.tensor([2, 2]))
    objective.update()
    expected = torch.zeros(3, 4)
    expected[0] = first[0].softmax(0)
    expected[2] = (first[1].softmax(0) + second[0].softmax(0) + second[1].softmax(0)) / 3
    assert torch.allclose(answers.probabilities, expected)
    assert answers.visits.tolist() == [1, 0, 3]


def test_mixed_images_do_not_count():
    objective = drkd.cross_entropy()
    answers = watch(objective)
    answers.size = 2
    logits, weight = torch.randn(2, 3), torch.tensor([1.0, 0.7])
    labels = MixedLabels(torch.tensor([[1.0, 0.0, 0.0], [0.7, 0.3, 0.0]]), weight, torch.tensor([1, 0]))
    objective(logits, labels, index=torch.tensor([0, 1]))
    objective.update()
    assert answers.visits.tolist() == [1, 0]
    assert torch.allclose(answers.probabilities[0], logits[0].softmax(0))


@pytest.mark.parametrize("method", ["cross_entropy", "ps_kd", "dlb"])
def test_a_training_is_the_same_with_it_and_goes_on_where_it_was(tmp_path, method):
    data = drkd.load_data("digits", limit_train=60, validation=0.1)
    results = []
    for kind in ("alone", "watched", "resumed"):
        torch.manual_seed(1)
        student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        objective = getattr(drkd, method)()
        answers = watch(objective) if kind != "alone" else None
        settings = {"epochs": 3, "batch_size": 20, "out": str(tmp_path / kind)}
        if kind == "resumed":

            def stop(row):
                if row["epoch"] == 2:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                drkd.fit(student, objective, data, on_epoch=stop, **settings)
        drkd.fit(student, objective, data, resume=True, **settings)
        results.append((student.state_dict(), answers and (answers.probabilities, answers.visits)))
    alone, watched, resumed = results
    for name, weights in alone[0].items():
        assert torch.equal(weights, watched[0][name])
    assert torch.equal(watched[1][0], resumed[1][0])
    assert torch.equal(watched[1][1], resumed[1][1])
    assert (watched[1][1] >= 3).all()
    assert torch.allclose(watched[1][0].sum(dim=1), torch.ones(60))


def test_its_state_has_the_size_of_what_it_saw():
    answers, other = Answers(), Answers()
    answers.size = 2
    answers.add(torch.randn(2, 3), torch.tensor([0, 1]), LABELS)
    answers.update()
    other.load_state_dict(answers.state_dict())
    assert torch.equal(other.probabilities, answers.probabilities)
    answers.reset()
    assert not answers.probabilities.numel()


def test_what_has_no_targets_is_refused():
    with pytest.raises(InputError, match=r"answers are kept beside a drkd\.Objective, got CrossEntropyLoss"):
        watch(nn.CrossEntropyLoss())
