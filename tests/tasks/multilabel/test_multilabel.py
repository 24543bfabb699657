"""Several labels at once: the equation per class, the metrics, and a run from a folder to predictions."""

import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score

import drkd
from drkd import InputError
from drkd.config import TrainConfig, resolve
from drkd.export.exporting import export_run
from drkd.export.predicting import predict_files
from drkd.report import write_report
from drkd.runs.evaluating import evaluate_run
from drkd.runs.training import train
from drkd.studies.comparison import compare
from drkd.tasks import get_task
from drkd.tasks.multilabel import MultiLabelData, PerClass, load_multilabel
from drkd.tasks.multilabel.checking import check_labels
from drkd.tasks.multilabel.learning import no_or_yes
from drkd.tasks.multilabel.metrics import measure
from several_labels import CLASSES, write_several

QUICK = {
    "task": "multilabel",
    "model": "mlp",
    "epochs": 12,
    "batch_size": 8,
    "lr": 0.1,
    "augment": "none",
}


def struct_of(number):
    """An image as Hugging Face's tables hold it."""
    with io.BytesIO() as file:
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(file, "PNG")
        return {"bytes": file.getvalue(), "path": None}


def write_table(path, images, labels, names):
    """A Parquet file with lists of class numbers, as Hugging Face writes a sequence of ClassLabel."""
    table = pa.table({"image": images, "labels": pa.array(labels, pa.list_(pa.int64()))})
    features = {"labels": {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}}
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    pq.write_table(table.replace_schema_metadata(about), path)


def by_class(student, teacher, labels, alpha, temperature):
    """DR-KD's loss of every label by hand: a sigmoid whose logit changes its sign where the teacher is wrong."""
    rectified = torch.where((teacher > 0) == (labels == 1), teacher, -teacher)
    hard = F.binary_cross_entropy_with_logits(student, labels.double(), reduction="none")
    soft = F.binary_cross_entropy_with_logits(
        student / temperature, torch.sigmoid(rectified / temperature), reduction="none"
    )
    return ((1 - alpha) * hard + alpha * temperature**2 * soft).mean()


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0.5, 8))
@settings(max_examples=25, deadline=None)
def test_dr_kd_holds_per_class(seed, alpha, temperature):
    torch.manual_seed(seed)
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    taught, labels = torch.randn(5, 4, dtype=torch.float64), torch.randint(2, (5, 4))
    objective = drkd.dr_kd(PerClass(torch.nn.Identity()), alpha=alpha, temperature=temperature)
    ours = objective(no_or_yes(logits), labels, inputs=taught)["loss"]
    theirs = by_class(logits, taught, labels, alpha, temperature)
    assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
    assert torch.allclose(*gradients, rtol=1e-10, atol=1e-12)


def test_the_label_term_is_binary_cross_entropy_over_what_is_known():
    logits, labels = torch.randn(6, 3, dtype=torch.float64), torch.tensor([[1, 0, -100], [0, -100, 1]] * 3)
    known = labels >= 0
    ours = drkd.cross_entropy()(no_or_yes(logits), labels)["loss"]
    assert torch.allclose(ours, F.binary_cross_entropy_with_logits(logits[known], labels[known].double()))


def test_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(2, size=(50, 4)), rng.normal(size=(50, 4))
    found = measure(torch.from_numpy(logits), torch.from_numpy(labels), "abcd")
    assert found.mean_ap == pytest.approx(average_precision_score(labels, logits, average="macro"))
    assert found.macro_f1 == pytest.approx(f1_score(labels, logits > 0, average="macro"))
    assert found.accuracy == pytest.approx(((logits > 0) == labels).mean())
    assert found.exact == pytest.approx(((logits > 0) == labels).all(axis=1).mean())
    assert found.nll == pytest.approx(
        F.binary_cross_entropy_with_logits(torch.from_numpy(logits), torch.from_numpy(labels).double()).item()
    )


def test_unknown_labels_and_classes_that_never_occur_do_not_count():
    logits = torch.tensor([[2.0, -1.0, 5.0], [-1.0, 3.0, 5.0]])
    found = measure(logits, torch.tensor([[1, 0, -100], [0, 0, -100]]), "abc")
    assert (found.accuracy, found.exact, found.mean_ap) == (0.75, 0.5, 1.0)
    assert found.per_class == {"a": {"mean_ap": 1.0, "images": 1}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_several(tmp_path_factory.mktemp("several") / "data", unknown=(1, 5))


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "dr_kd"
    return out, train(*resolve(TrainConfig, {**QUICK, "data": str(folder), "method": "dr_kd"}), out)


def test_a_training_from_a_folder_of_csv(finished, folder):
    out, summary = finished
    assert set(vars(summary.test)) == {
        *("mean_ap", "accuracy", "exact", "macro_f1", "nll", "per_class", "mistakes"),
        *("ece", "temperature", "calibrated_nll", "calibrated_ece"),
    }
    assert drkd.load_model(out)[1].temperature == summary.test.temperature
    assert summary.test.mean_ap > 0.9  # the colour shows the classes
    assert summary.teacher_train_accuracy > 0.9
    assert drkd.load_model(out)[1].task == "multilabel"
    assert evaluate_run(out, data=None, split="test").metrics == summary.test
    assert evaluate_run(out, data=str(folder), split="val").metrics == summary.val


def test_a_line_for_each_class(finished):
    test = finished[1].test
    heading, *lines = get_task("multilabel").describe_classes(test)
    assert heading.split() == ["class", "images", "AP", "%"]
    assert [line.split() for line in lines] == [
        [name, str(row["images"]), f"{100 * row['mean_ap']:.2f}"] for name, row in test.per_class.items()
    ]
    assert {len(line) for line in lines} == {len(heading)}


def test_predictions_name_every_class_that_is_more_probable_than_not(finished, folder):
    out, _ = finished
    data = load_multilabel(folder, image_size=8)
    network = drkd.load_model(out)[0]
    images = [folder / name for name in data.test.names]
    found = [(each.file, each.label) for each in predict_files(out, images, device="cpu")]
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    with torch.no_grad():
        logits = network((data.test.inputs / 255 - mean) / std)
    expected = []
    for image, row in zip(images, (logits > 0).tolist(), strict=True):
        named = [name for name, true in zip(CLASSES, row, strict=True) if true] or [""]
        expected += [(str(image), name) for name in named]
    assert found == expected


def test_an_export_answers_alike_and_knows_its_task(finished, folder):
    out, summary = finished
    record = export_run(out, "torch", split="test")
    assert record.parity.agreement == 1
    assert record.parity.accuracy_before == pytest.approx(summary.test.accuracy)
    assert record.manifest.task == "multilabel"
    image = next(folder.glob("*.png"))
    both = [list(predict_files(source, [image], device="cpu", allow_code=True)) for source in (out, record.path)]
    assert [each.label for each in both[0]] == [each.label for each in both[1]]


def test_a_resumed_training_is_the_same_to_the_bit(folder, tmp_path):
    options = {**QUICK, "data": str(folder), "method": "ps_kd", "epochs": 2}
    whole = train(*resolve(TrainConfig, options), tmp_path / "whole")

    def stop(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(*resolve(TrainConfig, {**options, "checkpoint_every": "2"}), tmp_path / "cut", on_event=stop)
    again = train(*resolve(TrainConfig, {**options, "checkpoint_every": "2"}), tmp_path / "cut")
    assert again.test == whole.test
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]


@pytest.mark.parametrize("make", [drkd.tf_kd_reg, drkd.ps_kd, drkd.online_dr_kd, drkd.label_smoothing])
def test_methods_train_on_tensors(make):
    torch.manual_seed(0)
    rows = torch.randn(40, 6)
    labels = (rows[:, :3] > 0).long()
    data = MultiLabelData.of((rows[:30], labels[:30]), (rows[30:], labels[30:]), classes=CLASSES)
    result = drkd.fit(torch.nn.Linear(6, 3), make(), data, epochs=20, batch_size=10, lr=0.5)
    assert result.history[-1]["train_accuracy"] > 0.9


def test_a_comparison_decides_by_mean_ap(folder, tmp_path):
    options = {**QUICK, "data": str(folder), "epochs": 1, "methods": ["label_smoothing"], "seeds": 3, "jobs": 1}
    results = compare(**options, out=tmp_path / "out")
    panel = results.results.panels[0]
    assert panel.task == "multilabel"
    write_report(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "mean AP" in page
    assert "mAP % by class" in page


def test_parquet_with_lists_of_class_numbers(tmp_path):
    images = [struct_of(number) for number in range(10)]
    labels = [[0, 2] if number % 2 else [1] for number in range(10)]
    write_table(tmp_path / "train.parquet", images, labels, names=["a", "b", "c"])
    data = load_multilabel(tmp_path, validation=0.2)
    together = torch.cat([data.train.labels, data.val.labels, data.test.labels])
    assert data.classes == ("a", "b", "c")
    assert sorted(map(tuple, together.tolist())) == [(0, 1, 0)] * 5 + [(1, 0, 1)] * 5
    assert data.record.rows


def test_a_split_does_not_depend_on_the_other_images(tmp_path):
    write_several(tmp_path, count=40)
    before = load_multilabel(tmp_path, seed=3)
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    (tmp_path / "labels.csv").write_text("\n".join(lines[:1] + lines[5:]) + "\n")
    after = load_multilabel(tmp_path, seed=3)
    gone = {f"labels-{number}.png" for number in range(4)}
    for split in ("train", "val", "test"):
        assert list(getattr(after, split).names) == [n for n in getattr(before, split).names if n not in gone]
    assert before.record.fingerprint != after.record.fingerprint


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda text: text.replace("labels-3.png,", "labels-3.png,1,"), "(line 5) has 4 labels for 3 classes"),
        (lambda text: re.sub("labels-3.png,.", "labels-3.png,maybe", text), "has the label 'maybe'; write 1, 0, or"),
        (lambda text: text.replace("labels-3.png", "../labels-3.png"), "lies outside the folder"),
        (lambda text: text.replace("labels-3.png", "gone.png"), "does not exist"),
        (lambda text: text.replace("labels-3.png", "labels-4.png"), "lists 1 image twice in a split: labels-4.png"),
        (lambda text: text.replace("green", "red", 1), "name each class once"),
        (lambda text: "", "2 problems: {folder}/labels.csv needs a first line"),
        (lambda text: text.replace(",", ";"), "separate columns by commas"),
        (lambda text: text.split("\n")[0], "has no images for the train split"),
        (lambda text: re.sub(",[^,\n]*,[^,\n]*$", "", text, flags=re.MULTILINE), "needs at least 2 classes"),
    ],
)
def test_wrong_rows_are_named(tmp_path, spoil, reason):
    write_several(tmp_path, count=10)
    path = tmp_path / "labels.csv"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(InputError, match=re.escape(reason.format(folder=tmp_path))):
        load_multilabel(tmp_path)


def test_an_image_in_two_files_is_refused(tmp_path):
    write_several(tmp_path, count=10)
    first, *rows = (tmp_path / "labels.csv").read_text().splitlines()
    for split, part in (("train", rows[:8]), ("test", rows[7:])):
        (tmp_path / f"{split}.csv").write_text("\n".join([first, *part]))
    with pytest.raises(InputError, match=r"lists 1 image in two splits: labels-7.png; keep one entry of each"):
        load_multilabel(tmp_path, skip_bad_images=True)


def test_bad_rows_and_images_can_be_left_out(tmp_path):
    write_several(tmp_path, count=20)
    (tmp_path / "labels-0.png").write_bytes(b"no image")
    path = tmp_path / "labels.csv"
    path.write_text(path.read_text().replace("labels-1.png", "gone.png"))
    with pytest.raises(InputError, match=r"2 problems: .*gone.png.*labels-0.png"):
        load_multilabel(tmp_path)
    with pytest.warns(UserWarning, match="left out: 2 problems"):
        data = load_multilabel(tmp_path, skip_bad_images=True, image_size=8)
    assert len(data.train) + len(data.val) + len(data.test) == 18
    assert data.skipped_images["train"] == 1
    assert check_labels(tmp_path).count("error") == {"wrong row": 1, "unreadable image": 1}


@pytest.mark.parametrize("make", [drkd.cs_kd, drkd.ols])
def test_methods_that_need_one_class_are_refused(make, folder):
    labels = torch.randint(2, (8, 3))
    data = MultiLabelData.of((torch.randn(8, 6), labels), (torch.randn(8, 6), labels), classes=CLASSES)
    with pytest.raises(InputError, match="needs one class per image"):
        drkd.fit(torch.nn.Linear(6, 3), make(), data, epochs=1)
    with pytest.raises(InputError, match="--mixup and --cutmix cannot be used here"):
        drkd.fit(torch.nn.Linear(6, 3), drkd.cross_entropy(), data, epochs=1, mixup=0.2)
    options = {**QUICK, "data": str(folder), "method": make.__name__}
    with pytest.raises(InputError, match="needs one class per image"):
        train(*resolve(TrainConfig, options), folder.parent / "refused")
    assert not (folder.parent / "refused").exists()
