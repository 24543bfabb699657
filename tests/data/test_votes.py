"""Annotators' votes as labels: from Parquet, from a CSV file beside class folders, from tensors."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import drkd
from drkd.data import load_data
from drkd.data.layouts import list_files
from drkd.data.loader import Loader
from image_files import encoded, findings, noise, refusal, write_set

VOTES = [[3.0, 1.0], [0.0, 2.0], [1.0, 3.0], [5.0, 0.0]] * 5


def write_votes(path, votes):
    images = [{"bytes": encoded(noise(number)), "path": None} for number in range(len(votes))]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    pq.write_table(pa.table({"image": pa.array(images, kind), "label": votes}), path)


def batch_of(data, **others):
    return next(iter(Loader(data, data.train, batch_size=100, seed=0, **others).batches(0)))


def test_a_parquet_column_of_votes_is_trained_on_and_its_largest_is_measured(tmp_path):
    write_votes(tmp_path / "train.parquet", VOTES)
    write_votes(tmp_path / "test.parquet", VOTES[:4])
    data = load_data(tmp_path, validation=0.2)
    assert findings(tmp_path) == [] or {severity for severity, _, _ in findings(tmp_path)} == {"warning"}
    assert data.classes == ("0", "1")
    assert data.test.labels.tolist() == [0, 1, 1, 0]
    batch = batch_of(data, training=True)
    assert torch.equal(batch.labels, data.train.probs[batch.index])
    assert sorted(set(batch.labels[:, 0].tolist())) == [0.0, 0.25, 0.75, 1.0]
    assert batch_of(data, training=False).labels.tolist() == data.train.labels.tolist()
    student = drkd.create_model("mlp", num_classes=2, image_size=8, channels=3)
    for method in (drkd.cs_kd(), drkd.ps_kd(), drkd.dr_kd(lambda inputs: inputs.flatten(1)[:, :2])):
        history = drkd.fit(student, method, data, epochs=1, batch_size=8, lr=0.001).history
        assert 0 <= history[0]["train_accuracy"] <= 1
    drkd.fit(student, drkd.label_smoothing(), data, epochs=1, batch_size=8, lr=0.001, mixup=0.2, cutmix=1.0)


def test_changed_votes_are_other_data(tmp_path):
    write_votes(tmp_path / "train.parquet", VOTES)
    before = load_data(tmp_path).record
    write_votes(tmp_path / "train.parquet", [[2.0, 1.0], *VOTES[1:]])
    after = load_data(tmp_path).record
    assert before.fingerprint != after.fingerprint


def test_bad_votes_in_parquet(tmp_path):
    write_votes(tmp_path / "train.parquet", [*VOTES, [0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0], []])
    assert "has 4 rows without the bytes of an image or without a label" in str(findings(tmp_path))
    write_votes(tmp_path / "train.parquet", [*VOTES, [1.0, 2.0, 3.0]])
    assert "has lists of votes for 2 and 3 classes" in refusal(tmp_path)


def test_a_csv_file_beside_the_class_folders(tmp_path):
    root = write_set(tmp_path / "pets")
    rows = ["file,dog,cat", "train/cat/0.png,1,3", "train\\dog\\2.png,1,0", "train/dog/2.png,,1", "test/cat/1.png,2,0"]
    (root / "votes.csv").write_text("\n".join(rows))
    assert not [problem for problem in findings(root) if "votes" in str(problem)]
    data = load_data(root)
    by_name = dict(zip(data.train.names, data.train.probs.tolist(), strict=True))
    assert by_name["train/cat/0.png"] == [0.75, 0.25]
    assert by_name["train/dog/2.png"] == [0.5, 0.5]
    assert by_name["train/dog/0.png"] == [0.0, 1.0]
    assert data.test.labels.tolist() == [0, 0, 0, 1, 1, 1]  # the folder decides what is right
    before = load_data(root).record.fingerprint
    assert "votes.csv" in list_files(str(root))
    (root / "votes.csv").write_text("\n".join(rows[:2]))
    assert load_data(root).record.fingerprint != before
    assert "leave --label-noise out" in refusal(root, label_noise=0.2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file,cat\n", "needs the columns file, cat, dog, got file, cat"),
        ("file,cat,dog\ntrain/cat/0.png,0,0\n", "has no vote, or one below 0, in line 2; leave that line out"),
        ("file,cat,dog\ntrain/cat/0.png,many,0\n", "cannot be read as votes: could not convert string to float"),
        ("file,cat,dog\ntrain/cat/9.png,1,0\n", "has votes for 1 file not among its images: train/cat/9.png"),
        ("", "got none"),
    ],
)
def test_bad_files_of_votes(tmp_path, text, reason):
    root = write_set(tmp_path / "pets")
    (root / "votes.csv").write_text(text)
    assert reason in str(findings(root))


def test_a_training_says_once_what_is_wrong_with_votes(tmp_path):
    root = write_set(tmp_path / "pets")
    (root / "votes.csv").write_text("file,cat,dog\ntrain/cat/0.png,0,0\n")
    assert refusal(root) == f"{root}/votes.csv has no vote, or one below 0, in line 2; leave that line out"


def test_classes_whose_letters_are_composed_otherwise_have_their_votes(tmp_path):
    for name in ("cafe\u0301", "dog"):
        (tmp_path / name).mkdir()
        for number in range(12):
            noise(number + len(name)).save(tmp_path / name / f"{number}.png")
    (tmp_path / "votes.csv").write_text("file,caf\u00e9,dog\ncaf\u00e9/1.png,3,1\n", encoding="utf-8")
    data = load_data(tmp_path, validation=0)
    row = data.train.names.index("caf\u00e9/1.png")
    assert data.train.probs[row].tolist() == [0.75, 0.25]


def test_votes_as_tensors():
    inputs, votes = torch.randn(20, 3), torch.tensor([[3, 1], [0, 2]] * 10)
    data = drkd.from_tensors((inputs, votes), (inputs, votes.argmax(1)), validation=0.2)
    assert torch.equal(data.train.probs.unique(dim=0), torch.tensor([[0.0, 1.0], [0.75, 0.25]]))
    assert data.test.probs is None
    student = torch.nn.Linear(3, 2)
    assert drkd.fit(student, drkd.cross_entropy(), data, epochs=1).history[0]["loss"] > 0
    other = drkd.from_tensors((inputs, 2.0 * votes + 1), (inputs, votes.argmax(1)), validation=0.2)
    assert other.record.fingerprint != data.record.fingerprint
    with pytest.raises(
        drkd.InputError, match=r"votes must be numbers from 0 on, not all 0, got \[0\.0, 0\.0\] in row 1"
    ):
        drkd.from_tensors((inputs[:2], torch.tensor([[1, 0], [0, 0]])), (inputs, votes.argmax(1)))
    with pytest.raises(drkd.InputError, match=r"votes must be \(N, 3\), a column for each class, got \[2\] columns"):
        drkd.from_tensors((inputs, votes), (inputs, votes), classes=("a", "b", "c"))
