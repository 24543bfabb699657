import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import drkd
from asking import ask
from drkd import Cached, CleanView, Frozen, InputError, TeacherCache
from drkd.data.loader import Loader
from drkd.targets.cached import fraction_found
from drkd.utils.files import read_json
from drkd.utils.hashing import file_hash

N, K = 6, 4
INPUTS = torch.randn(N, 3)
LABELS = torch.zeros(N, dtype=torch.long)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, K)
        self.calls = []

    def forward(self, inputs):
        self.calls.append(len(inputs))
        return self.net(inputs)


def cached(root, network):
    frozen = Frozen(network)
    cache = TeacherCache(Path(root), {"teacher": frozen.identity}, limit=10**6)
    return Cached(frozen, cache, samples=N), frozen.network.calls


def epoch(target, number, rows=(range(4), range(4, N))):
    answers = torch.zeros(N, K)
    for batch, part in enumerate(rows):
        index = torch.tensor(list(part))
        answers[index], valid = ask(target, torch.zeros(len(index), K), LABELS[index], INPUTS[index], index)
        assert valid is None
        target.update(number + (batch == len(rows) - 1))
    return answers


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Counting()


def test_the_second_training_asks_nothing_and_hears_the_same_to_the_bit(tmp_path, network):
    first, asked = cached(tmp_path, network)
    second, asked_again = cached(tmp_path, network)
    heard = [epoch(first, number) for number in range(2)]
    assert [torch.equal(epoch(second, number), heard[number]) for number in range(2)] == [True, True]
    assert (asked, asked_again) == ([4, 2, 4, 2], [])
    expected = network.net(INPUTS)
    assert not torch.equal(heard[0], expected)  # rounded, even where it was asked
    assert ((heard[0] - expected).abs() <= expected.abs() * 2.0**-11 + 2.0**-25).all()


def test_the_order_of_samples_does_not_matter(tmp_path, network):
    first, _ = cached(tmp_path, network)
    second, asked = cached(tmp_path, network)
    heard = epoch(first, 0)
    assert torch.equal(epoch(second, 0, rows=([5, 0, 3], [1, 2], [4])), heard)
    assert asked == []


def test_an_epoch_of_which_a_part_was_seen_is_not_kept(tmp_path, network):
    target, _ = cached(tmp_path, network)
    epoch(target, 0, rows=(range(5),))
    other, asked = cached(tmp_path, network)
    epoch(other, 0)
    assert asked == [4, 2]


def test_an_epoch_whose_last_step_was_skipped_is_kept(tmp_path, network):
    """Each epoch has images of its own; the cache must not mix them."""
    target, _ = cached(tmp_path, network)
    objective = drkd.kd(target)
    images = [INPUTS + number for number in range(3)]
    for step in range(6):
        number, index = step // 2, torch.arange(3) + 3 * (step % 2)
        objective(torch.zeros(3, K), LABELS[:3], inputs=images[number][index], index=index)
        take_in = objective.update if step != 1 else objective.discard
        take_in(progress=(step + 1) / 6, epoch=(step + 1) // 2)
    for number, shown in enumerate(images):
        kept = torch.from_numpy(target.cache.read(number, rows=N).copy())
        assert torch.allclose(kept.float(), network.net(shown), rtol=2.0**-10, atol=1e-6)


def test_an_epoch_that_begins_while_the_weight_is_0_is_kept(tmp_path, network):
    target, asked = cached(tmp_path, network)
    objective = drkd.kd(target, alpha_schedule="rising")
    for step in range(2):
        index = torch.arange(3) + 3 * step
        objective(torch.zeros(3, K), LABELS[:3], inputs=INPUTS[index], index=index)
        objective.update(progress=(step + 1) / 2, epoch=(step + 1) // 2)
    assert asked == [3, 3]
    assert target.cache.read(0, rows=N) is not None


def test_eval_mode_keeps_nothing(tmp_path, network):
    target, _ = cached(tmp_path, network)
    epoch(target.eval(), 0)
    assert not list(tmp_path.iterdir())


def test_a_resumed_training_finds_the_epoch_it_is_in(tmp_path, network):
    first, _ = cached(tmp_path, network)
    heard = [epoch(first, number) for number in range(3)]
    resumed, asked = cached(tmp_path, network)
    resumed.load_state_dict({name: torch.tensor(2) for name in first.state_dict()})
    assert torch.equal(epoch(resumed, 2), heard[2])
    assert asked == []


def test_classes_that_differ_are_named_by_the_term(tmp_path):
    target, _ = cached(tmp_path, Counting())
    with pytest.raises(InputError, match="teacher and student need the same classes"):
        drkd.kd(target)(torch.zeros(2, K + 1), LABELS[:2], inputs=INPUTS[:2], index=torch.arange(2))


def test_index_is_required(tmp_path, network):
    with pytest.raises(InputError, match="index"):
        ask(cached(tmp_path, network)[0], torch.zeros(N, K), LABELS, INPUTS)


def networks():
    torch.manual_seed(0)
    return [drkd.create_model("small_cnn", num_classes=10, image_size=8, channels=1) for _ in range(2)]


def test_a_training_follows_the_live_teacher_within_float16(tmp_path):
    """Same losses to float16's rounding in the first epochs; asked and found give the same to the bit."""
    data = drkd.load_data("digits", limit_train=100)
    histories = []
    for root in (None, tmp_path, tmp_path):
        student, teacher = networks()
        taught_by = teacher
        if root is not None:
            frozen = Frozen(teacher)
            taught_by = Cached(frozen, TeacherCache(root, {"t": frozen.identity}, limit=10**6), samples=100)
        objective = drkd.dr_kd(taught_by, alpha=0.5)
        histories.append(drkd.fit(student, objective, data, epochs=2, batch_size=25, lr=0.01).history)
    live, asked, found = histories
    assert asked == found
    for row, other in zip(live, asked, strict=True):
        assert other == pytest.approx(row, rel=2e-3, abs=2e-3)
    assert len(list(tmp_path.glob("*/epoch-*.npy"))) == 2


@pytest.mark.parametrize(("older", "expected"), [(False, 2 / 3), (True, 0.0)])
def test_a_resumed_training_knows_which_epochs_were_found_before(tmp_path, older, expected):
    """Whose cache was lost meanwhile; a checkpoint of an older version says nothing of it."""
    data = drkd.load_data("digits", limit_train=40)
    out, root = tmp_path / "run", tmp_path / "cache"
    options = {"epochs": 3, "batch_size": 20, "checkpoint_every": 1}

    def start(**others):
        student, teacher = networks()
        frozen = Frozen(teacher)
        target = Cached(frozen, TeacherCache(root, {"t": frozen.identity}, limit=10**6), samples=40)
        objective = drkd.dr_kd(target, alpha=0.5)
        drkd.fit(student, objective, data, **options, **others)
        return fraction_found(objective.targets)

    def stop(row):
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    assert start() == 0.0
    with pytest.raises(KeyboardInterrupt):
        start(out=out, on_epoch=stop)
    shutil.rmtree(root)  # the newest checkpoint is in the middle of the second epoch
    last = out / "checkpoints" / "last"
    kept = read_json(last / "state.json")
    assert kept.pop("cached") == [[[0, True], [1, True]]]
    if older:
        (last / "state.json").write_text(json.dumps(kept))
        manifest = read_json(last / "manifest.json")
        (last / "manifest.json").write_text(json.dumps({**manifest, "state.json": file_hash(last / "state.json")}))
    assert start(out=out, resume=True) == expected


def test_the_clean_view_is_what_the_teacher_says_of_plain_images():
    data = drkd.load_data("digits", limit_train=40)
    teacher, _ = networks()
    target = CleanView(teacher)
    samples = Loader(data, data.train, batch_size=16, training=False)
    target.prepare(samples)
    index = torch.tensor([3, 39, 0])
    heard, valid = ask(target, torch.zeros(3, 10), LABELS[:3], None, index)
    plain = torch.cat([batch.inputs for batch in samples.batches()])
    expected = teacher.eval()(plain[index])
    assert valid is None
    assert torch.allclose(heard, expected, rtol=2.0**-10, atol=1e-4)


def test_the_clean_view_asks_once_and_teaches_through_fit():
    data = drkd.load_data("digits", limit_train=40)
    network = nn.Sequential(nn.Flatten(), Counting())
    network[1].net = nn.Linear(64, 10)
    target = CleanView(network)
    (student, _), asked = networks(), target.teacher.network[1].calls
    objective = drkd.Objective("clean", [drkd.Term(drkd.OneHot(), 0.5, name="ce"), drkd.Term(target, 0.5, name="soft")])
    done = drkd.fit(student, objective, data, epochs=3, batch_size=20)
    assert asked == [40]
    assert all(row["soft"] > 0 for row in done.history)


def test_the_clean_view_says_what_it_misses():
    target = CleanView(nn.Linear(3, K))
    with pytest.raises(InputError, match="call `prepare`"):
        ask(target, torch.zeros(N, K), LABELS, None, torch.arange(N))
    with pytest.raises(InputError, match="index"):
        ask(target, torch.zeros(N, K), LABELS)
