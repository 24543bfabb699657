import warnings

import pytest
import torch

import drkd
from drkd import InputError
from drkd.data.folds import fold_numbers, leave_out

SMALL = {"epochs": 3, "batch_size": 50}


def network():
    torch.manual_seed(0)
    return drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)


def weights(module):
    return torch.cat([value.flatten() for value in module.state_dict().values()])


def test_self_distill_starts_both_from_the_same_weights(tmp_path):
    data = drkd.load_data("digits", limit_train=120)
    net = network()
    before = weights(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = drkd.self_distill(net, data, out=tmp_path, **SMALL)
    again = network()
    drkd.fit(again, drkd.cross_entropy(), data, **SMALL)
    assert torch.equal(weights(net), before)
    assert torch.equal(weights(result.self_teacher), weights(again))
    expected = network()
    drkd.fit(expected, drkd.dr_kd(again), data, **SMALL)
    assert torch.equal(weights(result.student), weights(expected))
    assert (tmp_path / "student" / "metrics.csv").exists()
    assert result.student_test == drkd.evaluate(result.student, data)


def test_networks_of_folds_teach_in_place_of_the_self_teacher(tmp_path):
    data = drkd.load_data("digits", limit_train=120)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = drkd.self_distill(network(), data, folds=2, out=tmp_path, **SMALL)
    teachers = []
    for fold in (1, 2):
        teachers.append(network())
        drkd.fit(teachers[-1], drkd.cross_entropy(), leave_out(data, fold, 2, of_train=True), **SMALL)
        assert torch.equal(weights(teachers[-1]), weights(result.fold_teachers[fold - 1]))
        assert (tmp_path / "teacher" / f"fold-{fold}-of-2" / "metrics.csv").exists()
    expected = network()
    number = fold_numbers(data, 2, of_train=True) - 1
    drkd.fit(expected, drkd.dr_kd(drkd.CrossFitted(teachers, number)), data, **SMALL)
    assert torch.equal(weights(result.student), weights(expected))
    inputs = (data.train.inputs.float() / 255 - data.mean[0]) / data.std[0]
    with torch.no_grad():
        right = torch.stack([each(inputs).argmax(1) for each in teachers])[number, torch.arange(120)]
    assert result.fold_teachers_accuracy == pytest.approx((right == data.train.labels).float().mean().item())
    with pytest.raises(InputError, match="folds"):
        drkd.self_distill(network(), data, folds=1, **SMALL)
