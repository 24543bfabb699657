"""Segmenters that start from trained weights, parts that stay as they are, classes that count more than others."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torchvision.models import get_weight

import drkd
from drkd import InputError
from drkd.config import FitSettings
from drkd.models.parts import blocks_of, head_of
from drkd.tasks.segmentation import create_segmenter
from drkd.tasks.segmentation.batches import SegmentationLoader
from drkd.tasks.segmentation.networks import PUBLISHED, SEGMENTERS, backbone_of
from drkd.training.optimizer import parameter_groups
from segmenters import MOVED, made_up, small

QUICK = {"batch_size": 3, "lr": 0.02, "optimizer": "sgd", "warmup_epochs": 0.0, "device": "cpu", "select": "last"}
HEADS = {"low_classifier.weight", "low_classifier.bias", "high_classifier.weight", "high_classifier.bias"}


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before, after):
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_a_frozen_backbone_stays_and_the_heads_learn():
    student = small()
    drkd.fit(student, drkd.cross_entropy(), made_up(MOVED), epochs=1, freeze="backbone", **QUICK)
    assert changed(state(small()), state(student)) == HEADS
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_first_blocks_stay():
    student = small()
    drkd.fit(student, drkd.cross_entropy(), made_up(), epochs=1, freeze=2, **QUICK)
    before = state(small())
    assert changed(before, state(student)) == {name for name in before if not name.startswith("fine.")}


def test_the_heads_learn_alone_at_first():
    student, states = small(), [state(small())]
    options = {**QUICK, "epochs": 2, "head_epochs": 1, "on_epoch": lambda row: states.append(state(student))}
    drkd.fit(student, drkd.cross_entropy(), made_up(), **options)
    assert changed(states[0], states[1]) == HEADS
    assert changed(states[1], states[2]) == set(states[0])


def test_blocks_are_the_backbones_and_then_the_heads():
    network = small()
    groups = parameter_groups(network, FitSettings(lr=0.1, head_lr=0.4, layer_decay=0.5), backbone_of(network))
    scales = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    assert {scales[id(parameter)] for name, parameter in network.named_parameters() if name in HEADS} == {4.0}
    found = [scales[id(each[0][0].weight)] for each in (*zip(network.fine), *zip(network.coarse))]
    assert found == pytest.approx([0.5**distance for distance in (5, 4, 3, 2, 1)])
    network = create_segmenter("lraspp_mobilenet_v3_large", num_classes=2)
    blocks = blocks_of(network, backbone_of(network))
    assert sorted(name for block in blocks for name in block) == sorted(dict(network.named_parameters()))
    assert blocks[0][0] == "backbone.0.0.weight"
    assert set(blocks[-1]) == head_of(network, backbone_of(network))
    assert all(name.startswith("classifier.") for name in blocks[-1])
    with pytest.raises(InputError, match="has no linear layer as its classifier"):
        drkd.fit(torch.nn.Conv2d(3, 3, 1), drkd.cross_entropy(), made_up(), epochs=1, freeze="backbone", **QUICK)


@pytest.mark.parametrize("weights", ["balanced", [1.0, 0.0, 5.0]])
def test_classes_count_by_their_weights(weights):
    """As in torch's own loss; balanced ones are scikit-learn's, over all pixels that count."""
    data, student = made_up(), small()
    objective = drkd.cross_entropy(class_weights=weights)
    done = drkd.fit(student, objective, data, epochs=1, **{**QUICK, "batch_size": 7})
    masks = np.concatenate([data.train[row][1].numpy().ravel() for row in range(7)])
    masks = masks[masks != 255]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=masks) if weights == "balanced" else weights
    assert objective.row_weights.weights.tolist() == pytest.approx(list(expected))
    (batch,) = SegmentationLoader(data, data.train, batch_size=7, training=True).batches()
    logits = small().train()(batch.images)["out"]
    loss = F.cross_entropy(logits, batch.labels, torch.tensor(expected, dtype=torch.float32), ignore_index=-100)
    assert done.history[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("batch_size", [2, 3, 4, 7])
def test_ranks_share_every_batch(batch_size):
    data = made_up(MOVED)

    def served(rank=0, world_size=1):
        ranks = {"rank": rank, "world_size": world_size}
        loader = SegmentationLoader(data, data.train, batch_size=batch_size, training=True, seed=2, **ranks)
        return list(loader.batches(1))

    ranks = [served(rank, 2) for rank in range(2)]
    assert min(len(part.index) for parts in ranks for part in parts) >= min(2, batch_size // 2)
    known = {int(row): image for batch in served() for row, image in zip(batch.index, batch.images, strict=True)}
    parts = [part for batches in ranks for part in batches]
    seen = [(int(row), image) for part in parts for row, image in zip(part.index, part.images, strict=True)]
    assert sorted(row for row, _ in seen) == sorted(known)
    assert all(torch.equal(image, known[row]) for row, image in seen)
    for first, second in zip(*ranks, strict=True):
        assert 0 <= len(first.index) - len(second.index) <= 1


def test_fewer_images_than_ranks_are_refused():
    data = made_up()
    with pytest.raises(InputError, match="2 images cannot be shared by 3 processes"):
        SegmentationLoader(data, data.val, batch_size=4, training=True, world_size=3)
    with pytest.raises(InputError, match="at least the number of ranks, got 2"):
        SegmentationLoader(data, data.train, batch_size=2, training=True, world_size=3)


def test_published_weights_are_named_where_they_are_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = "lraspp_mobilenet_v3_large"
    with pytest.raises(InputError, match=r"expected .*/checkpoints/lraspp_mobilenet_v3_large-.*--download"):
        create_segmenter(name, num_classes=2, pretrained=True)
    with pytest.raises(InputError, match="there are no published weights of small_fcn"):
        create_segmenter("small_fcn", num_classes=2, pretrained=True)
    with pytest.raises(InputError, match="both set the initial weights; use one of them"):
        create_segmenter(name, num_classes=2, pretrained=True, weights="some.pth")
    assert set(SEGMENTERS) - set(PUBLISHED) == {"small_fcn"}
    file = tmp_path / "hub" / "checkpoints" / get_weight(PUBLISHED[name]).url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    published = create_segmenter(name, num_classes=21)
    torch.save(published.state_dict(), file)
    with pytest.warns(UserWarning, match=r"torchvision's LRASPP_MobileNet_V3_Large_Weights\.\w+; its classifier of 21"):
        network = create_segmenter(name, num_classes=2, pretrained=True)
    assert torch.equal(network.backbone["0"][0].weight, published.backbone["0"][0].weight)
