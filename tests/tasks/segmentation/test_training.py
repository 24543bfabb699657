"""Segmenters trained by `drkd.fit`."""

import pytest
import torch
import torch.nn.functional as F

import drkd
from drkd import InputError
from drkd.tasks.segmentation import MainOutput, create_segmenter, mean_iou
from drkd.tasks.segmentation.augment import PairAugmentation
from drkd.tasks.segmentation.batches import SegmentationLoader
from drkd.tasks.segmentation.metrics import evaluate_segmenter
from segmenters import ALL, CrashError, crash_at, made_up, small

QUICK = {"epochs": 2, "batch_size": 3, "lr": 0.02, "optimizer": "sgd", "warmup_epochs": 0.0, "device": "cpu"}


def same(first, second):
    return all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_any_epoch_and_any_number_of_threads_give_the_same_batches():
    data = made_up(ALL)

    def served(start=0, workers=0):
        loader = SegmentationLoader(data, data.train, batch_size=2, training=True, seed=5)
        loader.workers = workers
        assert len(loader) == 3  # a single left-over image joins the batch before
        return list(loader.batches(1, start))

    whole = served()
    for other in (served(workers=3), [*whole[:1], *served(start=1)]):
        for first, second in zip(whole, other, strict=True):
            assert all(map(torch.equal, first, second))
    assert sorted(torch.cat([batch.index // 2 for batch in whole]).tolist()) == list(range(7))
    plain = next(iter(SegmentationLoader(data, data.train, batch_size=7, training=False).batches()))
    torch.testing.assert_close(plain.images[0, 0, 0, 0], (data.train[0][0][0, 0, 0] / 255 - 0.485) / 0.229)
    assert (plain.labels[:, 0] == -100).all()


def test_alpha_0_is_a_plain_training_to_the_bit():
    """Against a loop that knows nothing of objectives."""
    data, ours, plain = made_up(ALL), small(), small()
    drkd.fit(ours, drkd.dr_kd(MainOutput(small(9)), alpha=0.0), data, **QUICK, momentum=0.0, schedule="constant")
    plain.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.02, weight_decay=5e-4)
    loader = SegmentationLoader(data, data.train, batch_size=3, training=True, seed=0)
    kept = {}
    for epoch in range(2):
        plain.train()
        for batch in loader.batches(epoch):
            optimizer.zero_grad()
            F.cross_entropy(plain(batch.images)["out"], batch.labels, ignore_index=-100).backward()
            optimizer.step()
        kept[evaluate_segmenter(plain, data, "val").miou, epoch] = {
            name: value.clone() for name, value in plain.state_dict().items()
        }
    assert all(map(torch.equal, kept[max(kept)].values(), ours.state_dict().values()))


@pytest.mark.parametrize("options", [{}, {"average": "ema:0.9"}])
def test_a_crashed_training_resumes_to_the_bit(options, tmp_path):
    data = made_up(ALL)

    def train(network, folder, **more):
        objective = drkd.online_dr_kd(source=drkd.targets.Ema(MainOutput(network), decay=0.9), alpha=0.5)
        return drkd.fit(network, objective, data, out=tmp_path / folder, checkpoint_every=1, **QUICK, **options, **more)

    whole, resumed = small(), small()
    done = train(whole, "whole")
    with pytest.raises(CrashError):
        train(crash_at(3, small()), "part")
    again = train(resumed, "part", resume=True)
    assert same(whole, resumed)
    assert again.history == done.history
    assert 0 < done.history[0]["rectified"] < 1


def test_a_memory_of_pixels_needs_pixels_that_stay():
    network = small()
    done = drkd.fit(network, drkd.ps_kd(alpha=0.8, epochs=2), made_up(PairAugmentation(flip=True)), **QUICK)
    assert done.history[1]["soft"] > done.history[0]["soft"] >= 0
    with pytest.raises(InputError, match="scale_crop moves them"):
        drkd.fit(network, drkd.ps_kd(alpha=0.8, epochs=2), made_up(ALL), **QUICK)
    with pytest.raises(InputError, match="needs batches with pairs"):
        drkd.fit(network, drkd.cs_kd(), made_up(), **QUICK)


def test_metrics_are_those_of_the_loop_by_hand():
    data, network = made_up(), small()
    measured = evaluate_segmenter(network, data)
    loader = SegmentationLoader(data, data.test, batch_size=2, training=False)
    batches = [(batch.images, batch.labels) for batch in loader.batches()]
    found = torch.cat([network(images)["out"].argmax(1) for images, _ in batches])
    true = torch.cat([labels for _, labels in batches])
    counts = true != -100
    for label, name in enumerate(data.classes):
        hits = ((found == label) & (true == label)).sum()
        union = (((found == label) | (true == label)) & counts).sum()
        assert measured.per_class[name]["iou"] == pytest.approx(float(hits / union))
    assert measured.pixel_accuracy == pytest.approx(float((found == true)[counts].float().mean()))
    assert mean_iou(network, batches, num_classes=3, ignore_index=-100).miou == measured.miou


def test_bfloat16_and_an_auxiliary_head_train():
    torch.manual_seed(0)
    network = create_segmenter("deeplabv3_mobilenet_v3_large", num_classes=3)
    done = drkd.fit(
        network, drkd.cross_entropy(), made_up(size=32, count=3), **QUICK | {"epochs": 1}, precision="bfloat16"
    )
    assert done.history[0]["loss"] == pytest.approx(done.history[0]["ce"] + done.history[0]["aux"], rel=0.02)


def test_a_head_for_other_classes_is_left_out_and_said(tmp_path):
    torch.save(create_segmenter("lraspp_mobilenet_v3_large", num_classes=21).state_dict(), tmp_path / "coco.pth")
    with pytest.warns(UserWarning, match=r"its classifier of 21 classes is dropped.*4 are new"):
        network = create_segmenter("lraspp_mobilenet_v3_large", num_classes=3, weights=tmp_path / "coco.pth")
    assert network.classifier.low_classifier.weight.shape[0] == 3
    saved = torch.load(tmp_path / "coco.pth")
    assert torch.equal(network.backbone["0"][0].weight, saved["backbone.0.0.weight"])


def test_a_classifier_lends_its_backbone(tmp_path):
    """Under the names of torchvision's MobileNetV3: `features.` before all, and a classifier of 1000 classes."""
    torch.manual_seed(0)
    given = create_segmenter("lraspp_mobilenet_v3_large", num_classes=3).backbone.state_dict()
    saved = {f"features.{name}": value for name, value in given.items()}
    torch.save({**saved, "classifier.3.weight": torch.zeros(1000, 1280)}, tmp_path / "imagenet.pth")
    with pytest.warns(UserWarning, match="tensors of the network come|the heads are new") as said:
        network = create_segmenter("lraspp_mobilenet_v3_large", num_classes=3, weights=tmp_path / "imagenet.pth")
    assert "the backbone takes them, and the heads are new" in str(said[-1].message)
    assert "308 of 308 tensors" in str(said[0].message)
    assert all(map(torch.equal, network.backbone.state_dict().values(), given.values()))
