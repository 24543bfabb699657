import warnings

import torch

import drkd

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
