"""Suspect labels: who is asked about which image, in which order they come, and what is written."""

import base64
import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import drkd
from drkd import InputError
from drkd.config import TrainConfig, as_yaml, resolve
from drkd.data.folds import fold_numbers
from drkd.models.files import ModelInfo, write_model
from drkd.report.suspects import write_gallery
from drkd.runs import features
from drkd.runs.events import Estimated
from drkd.runs.training import train
from drkd.studies import suspects
from drkd.studies.ranking import contradictions, rank
from drkd.studies.suspects import find_suspects, gather, plan
from drkd.training import features as extraction
from drkd.utils.files import read_tensors, write_tensors
from image_files import run_cli

OPTIONS = {
    **{"method": "cross_entropy", "limit_train": 400, "limit_test": 50, "label_noise": 0.2},
    **{"epochs": 8, "batch_size": 25, "model": "mlp"},
}


def trained(out, **options):
    train(*resolve(TrainConfig, {**OPTIONS, **options}), out)
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on digits of which a fifth have a wrong label."""
    return trained(tmp_path_factory.mktemp("suspects") / "run")


@pytest.fixture(scope="module")
def found(run):
    return find_suspects(run, folds=3, jobs=1)


@pytest.fixture(scope="module")
def remembered(run, tmp_path_factory):
    return find_suspects(run, asked="memory", out=tmp_path_factory.mktemp("memory"))


@pytest.fixture(scope="module")
def data():
    return drkd.load_data("digits", limit_train=400, limit_test=50, label_noise=0.2)


def wrong_images(data):
    """Where the images are whose label was made wrong."""
    clean = drkd.load_data("digits", limit_train=400, limit_test=50)
    return {
        name
        for split in ("train", "val")
        for name, given, true in zip(
            getattr(data, split).origins, getattr(data, split).labels, getattr(clean, split).labels, strict=True
        )
        if given != true
    }


@pytest.mark.parametrize("asked", ["folds", "memory"])
def test_wrong_labels_come_first(found, remembered, data, asked):
    wrong = wrong_images(data)
    ranked = found if asked == "folds" else remembered
    assert len(ranked.images) == 544
    assert len(wrong) == 109
    assert sum(each.image in wrong for each in ranked.images[:50]) >= 40  # 10 by chance
    assert sum(each.image in wrong for each in ranked.images[-300:]) <= 15  # 60 by chance


def test_each_image_is_asked_of_the_network_that_was_trained_without_it(run, found, data):
    number = fold_numbers(data, 3)
    labels = torch.cat([data.train.labels, data.val.labels])
    names = [*data.train.origins, *data.val.origins]
    by_name = {each.image: each for each in found.images}
    assert sorted(by_name) == sorted(names)
    for fold in (1, 2, 3):
        folder = run / "suspects" / f"fold-{fold}-of-3"
        network, info = drkd.load_model(folder)
        config, _ = resolve(TrainConfig, {}, folder / "config.yaml")
        assert (config.fold, config.epochs, config.label_noise) == (f"{fold}/3", 8, 0.2)
        for row in (number == fold).nonzero().flatten().tolist():
            split, at = (data.train, row) if row < 400 else (data.val, row - 400)
            pixels = (split.inputs[at : at + 1].float() / 255 - info.mean[0]) / info.std[0]
            with torch.no_grad():
                probs = network(pixels)[0].softmax(0)
            each = by_name[names[row]]
            assert each.given == data.classes[labels[row]]
            assert each.given_probability == pytest.approx(float(probs[labels[row]]), abs=1e-5)
            other = max((k for k in range(10) if k != labels[row]), key=lambda k: probs[k])
            assert each.suggested == data.classes[other]
            assert each.suggested_probability == pytest.approx(float(probs[other]), abs=1e-5)
            assert each.contradicted == (int(probs.argmax()) != labels[row])


def test_no_fold_was_trained_on_what_it_is_asked_about(run, found):
    trained_on = {}
    for training in plan(run, run, asked="folds", folds=3):
        of_fold = suspects.load(training.config)
        assert not set(of_fold.train.origins) & set(of_fold.val.origins)
        assert sorted([*of_fold.train.origins, *of_fold.val.origins]) == sorted(each.image for each in found.images)
        trained_on[training.name] = set(of_fold.val.origins)
    assert sum(map(len, trained_on.values())) == 544


def test_the_list_is_ranked_and_written(run, found):
    with (run / "suspects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == list(range(1, 545))
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert [row["contradicted"] == "true" for row in rows] == [score > 0 for score in scores]
    assert found.contradicted == sum(score > 0 for score in scores) > 50
    assert {row["split"] for row in rows} == {"train", "val"}


def test_the_score_is_by_how_much_another_logit_exceeds_the_label_s():
    logits, labels = torch.randn(50, 6, dtype=torch.float64), torch.randint(6, (50,))
    scores, others = contradictions(logits.softmax(dim=1), labels)
    for row, label in enumerate(labels.tolist()):
        values = {k: float(logits[row, k]) for k in range(6) if k != label}
        assert int(others[row]) == max(values, key=values.get)
        assert float(scores[row]) == pytest.approx(max(values.values()) - float(logits[row, label]))
    swapped = drkd.swap(logits, labels)
    assert torch.equal(scores > 0, (swapped != logits).any(dim=1))
    moved = (swapped - logits).abs().amax(dim=1)
    assert torch.allclose(scores.clamp(min=0), moved)


def test_a_probability_of_0_is_no_infinite_score():
    scores, _ = contradictions(torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([0]))
    assert 80 < float(scores) < 90


def test_it_is_the_same_again_and_resumes_with_what_is_missing(run, found):
    before = (run / "suspects.csv").read_bytes()
    folder = run / "suspects" / "fold-2-of-3"
    for name in ("answers.safetensors", "summary.json", "model.safetensors"):
        (folder / name).unlink()
    (run / "suspects.csv").unlink()
    epochs = []
    again = find_suspects(run, folds=3, jobs=1, on_event=lambda event: epochs.append((event.run, type(event).__name__)))
    assert (run / "suspects.csv").read_bytes() == before
    assert again.images == found.images
    assert [name for name, kind in epochs if kind == "RunDone"] == [f"fold-{i}-of-3" for i in (1, 2, 3)]
    assert not [name for name, kind in epochs if kind == "EpochDone" and name != "fold-2-of-3"]


def test_repeats_are_averaged(run, data, tmp_path):
    total = torch.zeros(544, 10)
    trainings = plan(run, tmp_path, asked="folds", folds=2, repeats=2)
    for training, (draw, fold) in zip(trainings, [(0, 1), (0, 2), (1, 1), (1, 2)], strict=True):
        rows = fold_numbers(data, 2, draw) == fold
        probs = torch.rand(int(rows.sum()), 10).softmax(dim=1)
        total[rows] += probs
        training.out.mkdir(parents=True)
        write_tensors(training.out / "answers.safetensors", {"probabilities": probs})
    assert torch.allclose(gather(trainings, data), total / 2)
    write_tensors(training.out / "answers.safetensors", {"probabilities": probs[1:]})
    with pytest.raises(
        InputError, match=rf"is about {len(probs) - 1} images, and there are {len(probs)}: the data has"
    ):
        gather(trainings, data)


def test_a_class_that_is_in_one_fold_only_is_judged_by_no_network_of_that_fold(run, data, tmp_path):
    trainings = plan(run, tmp_path, asked="folds", folds=3)
    numbers = fold_numbers(data, 3)
    rare = (numbers == 2).nonzero().flatten()[:2]
    labels = torch.cat([data.train.labels, data.val.labels]) % 9
    labels[rare] = 9
    changed = replace(data, train=replace(data.train, labels=labels[:400]), val=replace(data.val, labels=labels[400:]))
    for training, fold in zip(trainings, (1, 2, 3), strict=True):
        training.out.mkdir(parents=True)
        even = torch.full((int((numbers == fold).sum()), 10), 0.1)
        write_tensors(training.out / "answers.safetensors", {"probabilities": even})
    found = gather(trainings, changed)
    assert found.isnan().all(dim=1).nonzero().flatten().tolist() == rare.tolist()


def test_folds_of_a_frozen_backbone_ask_it_once(tmp_path, monkeypatch):
    torch.manual_seed(7)
    weights = tmp_path / "mlp.safetensors"
    network = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
    write_model(weights, network.state_dict(), ModelInfo("mlp", tuple("0123456789"), 8, 1, (0.3,), (0.4,)))
    counts = []

    def count(network, data, name):
        counts.append(name)
        return extraction.features_of(network, data, name)

    monkeypatch.setattr(features, "features_of", count)
    monkeypatch.setattr(features, "_remembered", {})
    frozen = {"freeze": "backbone", "augment": "none", "weights": str(weights), "epochs": 1}
    run = trained(tmp_path / "run", method="dr_kd", **frozen)
    counts.clear()
    events = []
    find_suspects(run, folds=2, jobs=1, on_event=events.append)
    told = [(event.run, event.estimate.trainings) for event in events if isinstance(event, Estimated)]
    assert told == [("suspects", 4)]  # one estimate for all, self-teachers included
    find_suspects(run, asked="memory", jobs=1)
    assert counts == ["train", "val", "test"]


def test_an_image_whose_class_is_nowhere_else_is_not_judged(data, tmp_path):
    probs = torch.full((544, 10), 0.1)
    probs[7] = torch.nan
    ranked = rank(data, probs, "folds", tmp_path)
    assert ranked.not_judged == (data.train.origins[7],)
    assert len(ranked.images) == 543
    assert [each.image for each in ranked.images[:2]] == data.train.origins[:2]  # equal scores in their order
    assert not ranked.contradicted


def test_the_gallery_needs_nothing_else(found, data):
    text = write_gallery(found).read_text()
    assert not re.search(r"(src|href)=\"(?!data:)|https?:|<script", text)
    images = re.findall(r"data:image/png;base64,([^\"]+)", text)
    assert len(images) == 50
    where = data.train if found.images[0].split == "train" else data.val
    expected = where.inputs[list(where.origins).index(found.images[0].image)][0]
    shown = np.array(Image.open(io.BytesIO(base64.b64decode(images[0]))))
    assert torch.equal(torch.from_numpy(shown), expected)


def test_the_command_line_prints_the_first(run, found, capsys):
    assert run_cli("suspects", run, "--folds", "3", "--jobs", "1", "--top", "2") == 0
    said = capsys.readouterr().out
    assert found.images[1].image in said
    assert found.images[2].image not in said
    assert f"{found.contradicted} of 544 labels of the training and validation images are contradicted" in said
    assert run_cli("suspects", run, "--folds", "3", "--jobs", "1", "--top", "3", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["table"] == answer["path"] == str(run / "suspects.csv")
    assert [each["image"] for each in answer["suspects"]] == [each.image for each in found.images[:3]]
    assert answer["contradicted"] == found.contradicted
    assert run_cli("suspects", run, "--folds", "3", "--jobs", "1", "--quiet") == 0
    assert capsys.readouterr().out == f"{run / 'suspects.csv'}\n"


def test_what_cannot_be_asked_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="holds no finished training; give the run directory of `drkd train`"):
        find_suspects(tmp_path)
    config = TrainConfig(**{**OPTIONS, "task": "multilabel"})
    (tmp_path / "config.yaml").write_text(as_yaml(config, dict.fromkeys(TrainConfig.model_fields, "default")))
    (tmp_path / "summary.json").write_bytes((run / "summary.json").read_bytes())
    with pytest.raises(InputError, match=r"suspect labels need classification, and .* is a run of multilabel"):
        find_suspects(tmp_path)
    with pytest.raises(InputError, match="already held out the fold 1/3; give a run without --fold"):
        find_suspects(run / "suspects" / "fold-1-of-3")
    with pytest.raises(InputError, match="--fold should be a fold such as 2/5"):
        resolve(TrainConfig, {"fold": "6/5"})


def test_the_memory_has_seen_every_image_in_every_epoch(remembered):
    answers = read_tensors(remembered.out / "suspects" / "memory" / "answers.safetensors")
    assert answers["visits"].tolist() == [8] * 544
    assert torch.allclose(answers["probabilities"].sum(dim=1), torch.ones(544))
