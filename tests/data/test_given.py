"""Data as Python objects: whatever holds them, they become the same data that files give."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, RandomAffine, ToTensor

import drkd
from drkd import InputError
from drkd.data.given import give
from drkd.utils import objects

DIGITS = drkd.load_data("digits", validation=0)
PARTS = {split: (part.inputs, part.labels) for split, part in (("train", DIGITS.train), ("test", DIGITS.test))}
GREY = torch.zeros(20, 8, 8, dtype=torch.uint8)
LABELS = torch.arange(20) % 4


class Items(Dataset):
    """As torchvision's: images of Pillow through a transform, and the names of the classes."""

    classes = tuple("0123456789")

    def __init__(self, images, labels, transform=None):
        self.images, self.labels, self.transform = images[:, 0].numpy(), labels, transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, number):
        image = Image.fromarray(self.images[number])
        return self.transform(image) if self.transform else image, int(self.labels[number])


class ClassLabel:
    names = tuple("0123456789")


class Table:
    """What drkd uses of Hugging Face's `Dataset`."""

    class Image:
        def __init__(self, decode=True):
            self.decode = decode

    def __init__(self, images, labels):
        self.rows = [
            {"picture": Image.fromarray(image[0].numpy()), "y": int(y)} for image, y in zip(images, labels, strict=True)
        ]
        self.features = {"picture": self.Image(), "y": ClassLabel()}
        self.column_names = ["picture", "y"]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, number):
        raise AssertionError("a table is read row by row")

    def cast_column(self, name, feature):
        self.features[name] = feature
        return self

    def __iter__(self):
        assert not self.features["picture"].decode
        for row in self.rows:
            file = io.BytesIO()
            row["picture"].save(file, "PNG")
            yield {"picture": {"bytes": file.getvalue(), "path": None}, "y": row["y"]}


def each(make):
    return {split: make(*part) for split, part in PARTS.items()}


FORMS = {
    "tensors": PARTS,
    "a pair": tuple(PARTS.values()),
    "numpy, channels last": each(lambda x, y: (x.permute(0, 2, 3, 1).numpy(), y.tolist())),
    "grey without channels": each(lambda x, y: (x[:, 0], y.numpy())),
    "floats": each(lambda x, y: (x.double().numpy() / 255, y)),
    "votes": each(lambda x, y: (x, torch.nn.functional.one_hot(y))),
    "TensorDataset": each(lambda x, y: Subset(TensorDataset(x, y), range(len(y)))),
    "Pillow": each(Items),
    "ToTensor": each(lambda x, y: Items(x, y, ToTensor())),
    "dictionaries": each(lambda x, y: [{"image": a, "label": b} for a, b in zip(x, y.tolist(), strict=True)]),
    "Hugging Face": each(Table),
    "Data": DIGITS,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_data_to_the_bit(form):
    how = {"seed": 3, "limit_train": 100, "limit_test": 200, "augment": "shift"}
    if form != "votes":
        how["label_noise"] = 0.2
    ours, theirs = drkd.as_data(FORMS[form], **how), drkd.load_data("digits", **how)
    for split in ("train", "val", "test"):
        assert torch.equal(getattr(ours, split).inputs, getattr(theirs, split).inputs)
        assert torch.equal(getattr(ours, split).labels, getattr(theirs, split).labels)
    assert (ours.classes, ours.augmentation) == (theirs.classes, theirs.augmentation)
    assert form == "Data" or (ours.mean, ours.std) == (theirs.mean, theirs.std)
    assert form == "votes" or ours.record.fingerprint == theirs.record.fingerprint


def test_names_have_a_hash_of_the_content():
    names = {form: drkd.as_data(FORMS[form]).name for form in ("tensors", "floats", "ToTensor", "Hugging Face")}
    assert names["tensors"] == names["floats"] != names["Hugging Face"]
    assert names["ToTensor"] == names["tensors"].replace("tensors", "Items")
    images, labels = PARTS["train"]
    other = labels.clone()
    other[0] = (other[0] + 1) % 10
    for changed in ({"train": (images, other)}, {"train": (255 - images, labels)}, {"train": PARTS["train"]}):
        assert drkd.as_data(changed | {"classes": "abcdefghij"}).name not in names.values()
    again = pickle.loads(pickle.dumps(give(PARTS)))
    assert again.key == names["tensors"]


def test_files_of_an_image_folder_are_read_as_the_folder(tmp_path):
    draw = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    folder = ImageFolder(tmp_path / "train")
    with pytest.warns(UserWarning, match="differ in size or are not square: scaled and cropped to 64x64"):
        assert drkd.as_data(folder).image_size == 64
    ours = drkd.as_data({"train": folder, "test": folder}, image_size=16, validation=0)
    (tmp_path / "test").symlink_to(tmp_path / "train")
    theirs = drkd.load_data(tmp_path, image_size=16, validation=0)
    assert torch.equal(ours.train.inputs, theirs.train.inputs)
    assert ours.classes == theirs.classes
    in_memory = {"train": (np.stack([np.asarray(image) for image, _ in folder]), folder.targets), "test": folder}
    assert torch.equal(drkd.as_data(in_memory, image_size=16, validation=0).train.inputs, theirs.train.inputs)


def test_an_image_folder_with_functions_of_its_own_is_read_through_them(tmp_path):
    for number in range(8):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (9 * number, 0, 0)).save(folder / f"{number}.png")

    class Last(ImageFolder):
        def __getitem__(self, number):
            return super().__getitem__(len(self) - 1 - number)

    plain = ImageFolder(tmp_path)
    for folder, labels, images in (
        (ImageFolder(tmp_path, target_transform=lambda label: 1 - label), [1] * 4 + [0] * 4, plain),
        (ImageFolder(tmp_path, loader=lambda path: Image.open(path).convert("L")), [0] * 4 + [1] * 4, None),
        (Last(tmp_path), [1] * 4 + [0] * 4, list(plain)[::-1]),
    ):
        train = drkd.as_data({"train": folder, "test": folder}, validation=0).train
        assert train.labels.tolist() == [folder[i][1] for i in range(8)] == labels
        assert train.inputs.shape[1] == (1 if images is None else 3)
        if images is not None:
            assert train.inputs[:, 0, 0, 0].tolist() == [image.getpixel((0, 0))[0] for image, _ in images]


def test_images_of_several_sizes_and_colours_are_brought_together():
    images = [Image.new("L" if side == 8 else "RGB", (side, side), 77) for side in (8, 9, 8, 9, 8, 9, 8, 9, 8, 9)]
    data = drkd.as_data(list(zip(images, [0, 1] * 5, strict=True)) * 2, image_size=8)
    assert data.train.inputs.shape[1:] == (3, 8, 8)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_rows_of_a_table_stay_as_they_are(kind):
    rows = (torch.randn(40, 3) * 9).to(kind)
    data = drkd.as_data({"train": (rows, LABELS.repeat(2)), "test": (rows[:8], LABELS[:8])}, validation=0)
    assert torch.equal(data.train.inputs, rows.float() if kind.is_floating_point else rows)
    with pytest.raises(InputError, match="holds rows, not images: leave the augmentation out"):
        drkd.as_data((rows, LABELS.repeat(2)), augment="shift")
    with pytest.raises(InputError, match="holds rows, not images: leave the image size out"):
        drkd.as_data((rows, LABELS.repeat(2)), image_size=8)


def test_rows_that_a_network_cannot_take_are_refused_before_it_is_trained():
    rows = torch.zeros(20, 4)
    with pytest.raises(InputError, match=r"^the test inputs are torch.int64, those of the training split"):
        drkd.as_data({"train": (rows, LABELS), "test": (rows.long(), LABELS)})
    for kind in (object, str):
        with pytest.raises(InputError, match=r"^the train inputs must be numbers, got an array of (object|<U\d+)"):
            drkd.as_data((rows.numpy().astype(kind), LABELS))


def test_an_image_of_no_known_range_is_named_by_its_number():
    images = [Image.new("L" if number < 3 else "F", (8, 8)) for number in range(4)]
    with pytest.raises(InputError, match=r"^item 3 of the train split cannot be read as an image: its values have"):
        drkd.as_data([(image, number % 2) for number, image in enumerate(images)])


def test_a_data_set_that_augments_is_refused():
    torch.manual_seed(0)
    moving = Items(*PARTS["train"], Compose([RandomAffine(30), ToTensor()]))
    with pytest.raises(InputError, match="differs each time it is read; leave random transforms out"):
        drkd.as_data(moving)


REFUSED = {
    r"expected a data set of torch.*; got int": 3,
    r"got str; load_data reads names and paths": "digits",
    r"got DataLoader": DataLoader(TensorDataset(GREY, LABELS)),
    r"splits are called train, val and test, got 'trian'": {"trian": (GREY, LABELS)},
    r"need a training split, got test": {"test": (GREY, LABELS)},
    r"the train split cannot be read from Tensor": {"train": GREY},
    r"the test split is empty": {"train": (GREY, LABELS), "test": (GREY[:0], LABELS[:0])},
    r"floats from -1 to 1 and must lie in \[0, 1\]": (
        torch.ones(20, 1, 8, 8) * (LABELS - 1.5).sign().view(-1, 1, 1, 1),
        LABELS,
    ),
    r"images must be uint8 or floats in \[0, 1\], got int64": (GREY.long()[:, None], LABELS),
    r"with 1 or 3 channels, or uint8 \(N, H, W\), got \(20, 8, 8\) of float32": (GREY.float(), LABELS),
    r"got \(20, 5, 8, 8\) of uint8": (GREY[:, None].expand(-1, 5, -1, -1), LABELS),
    r"labels must be integers \(20,\) or votes \(20, K\), got float32 \(20,\)": (GREY, LABELS.float()),
    r"labels must be integers \(20,\) or votes \(20, K\), got int64 \(19,\)": (GREY, LABELS[1:]),
    r"the train labels must be from 0 to 3, got -1 to 3": (GREY, LABELS.where(LABELS > 0, -1)),
    r"the train labels must be from 0 to 1, got 0 to 3": {"train": (GREY, LABELS), "classes": ("a", "b")},
    r"the test inputs have the shape \(1, 9, 9\)": (
        (GREY, LABELS),
        (torch.zeros(4, 9, 9, dtype=torch.uint8), LABELS[:4]),
    ),
    r"hold NaN or infinite values": (torch.full((20, 3), torch.nan), LABELS),
    r"need at least 2 classes, got 1": (GREY, LABELS * 0),
    r"items of the train split must be \(image, label\)": [1, 2, 3, 4],
}


@pytest.mark.parametrize("message", REFUSED)
def test_others_are_refused_with_what_to_do(message):
    with pytest.raises(InputError, match=message):
        drkd.as_data(REFUSED[message])


def test_unknown_columns_and_labels_of_text_are_refused():
    table = Table(*(part[:20] for part in PARTS["train"]))
    table.features = {"picture": table.Image(), "y": object()}
    with pytest.raises(InputError, match="no column with a label, integers as `class_encode_column` makes them"):
        drkd.as_data(table)
    table.features = {"a": table.Image(), "b": table.Image(), "y": ClassLabel()}
    with pytest.raises(InputError, match=r"several columns that may be an image: a \(Image\), b \(Image\)"):
        drkd.as_data(table)


def test_fit_divides_objects_for_its_seed():
    def trained(data):
        torch.manual_seed(0)
        student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        return drkd.fit(student, drkd.ps_kd(), data, epochs=1, batch_size=200, seed=4).history

    assert trained(PARTS) == trained(drkd.as_data(PARTS, seed=4)) != trained(drkd.as_data(PARTS, seed=5))


def test_self_distill_measures_on_the_same_division():
    network = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
    done = drkd.self_distill(network, PARTS, epochs=1, batch_size=400, seed=2)
    assert done.student_test == drkd.evaluate(done.student, drkd.as_data(PARTS, seed=2))


def test_objects_stay_known_until_many_others_are(monkeypatch):
    monkeypatch.setattr(objects, "_known", {})
    for number in range(objects.LASTING + 1):
        objects.Objects({f"object:{number}": number}).make_known()
    assert objects.find_object("object:0") is None
    assert objects.find_object("object:1") == 1
