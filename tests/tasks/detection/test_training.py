import signal

import pytest
import torch

import drkd
from detectors import DETECTORS, retina, ssd, two_stage
from drkd import InputError, NonFiniteLossError
from drkd.config import DETECTION, FitSettings
from drkd.tasks.detection import learning, networks
from drkd.tasks.detection.data import load_detection
from drkd.tasks.detection.metrics import DetectionMetrics, evaluate_detector
from drkd.tasks.detection.positions import AtPositions
from shapes import write_voc

QUICK = {
    "epochs": 3,
    "batch_size": 3,
    "lr": 0.01,
    "seed": 4,
    "optimizer": "sgd",
    "warmup_epochs": 0.0,
    "clip_norm": None,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load_detection(write_voc(tmp_path_factory.mktemp("shapes") / "set"))


def make(family, seed=0):
    torch.manual_seed(seed)
    return DETECTORS[family]()


def method(family, student):
    if family == "two_stage":
        return drkd.dr_kd(AtPositions(make(family, seed=9)), alpha=0.5, temperature=2.0)
    if family == "ssd":
        return drkd.ps_kd(alpha=0.8, epochs=3)
    return drkd.online_dr_kd(source=drkd.targets.Ema(AtPositions(student), decay=0.9), alpha=0.5)


def train(family, data, **options):
    student = make(family)
    done = drkd.fit(student, method(family, student), data, **QUICK, **options)
    return student, done


def same(first, second):
    return all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


class CrashError(Exception):
    pass


@pytest.mark.parametrize("family", DETECTORS)
def test_a_crashed_training_resumes_to_the_bit(family, data, tmp_path):
    whole, done = train(family, data, out=tmp_path / "whole", checkpoint_every=2)
    interrupted = make(family)
    objective = method(family, interrupted)
    steps = []

    def crash(module, given, made):
        steps.append(1)
        if len(steps) == 6:  # in the second epoch, after a checkpoint in its middle
            raise CrashError

    interrupted.transform.register_forward_hook(lambda *a: crash(*a) if interrupted.training else None)
    with pytest.raises(CrashError):
        drkd.fit(interrupted, objective, data, out=tmp_path / "part", checkpoint_every=2, **QUICK)
    resumed, again = train(family, data, out=tmp_path / "part", checkpoint_every=2, resume=True)
    assert same(whole, resumed)
    assert again.history == done.history
    assert (tmp_path / "part/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()


def test_the_last_step_is_saved_whenever_checkpoints_are_due(data, tmp_path):
    done = drkd.fit(make("ssd"), drkd.cross_entropy(), data, out=tmp_path, checkpoint_every=1000, **QUICK)
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*")] == [f"step-{done.step}"]


@pytest.fixture
def ctrl_c():
    """As in a terminal: processes in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interruption_saves_the_step_at_hand(data, tmp_path):
    student = make("ssd")
    interrupt = student.transform.register_forward_hook(
        lambda *_: signal.raise_signal(signal.SIGINT) if student.training else None
    )
    with pytest.raises(KeyboardInterrupt):
        drkd.fit(student, drkd.cross_entropy(), data, out=tmp_path, **QUICK)
    interrupt.remove()
    assert (tmp_path / "checkpoints" / "last").resolve().name == "step-1"
    resumed, whole = make("ssd"), make("ssd")
    drkd.fit(resumed, drkd.cross_entropy(), data, out=tmp_path, resume=True, **QUICK)
    drkd.fit(whole, drkd.cross_entropy(), data, **QUICK)
    assert same(resumed, whole)


def test_cross_entropy_is_a_plain_training_of_torchvisions_detector(data):
    """Against a loop that knows nothing of objectives."""
    from drkd.tasks.detection.batches import DetectionLoader

    ours, plain = make("two_stage"), make("two_stage")
    settings = {**QUICK, "epochs": 1, "schedule": "constant", "clip_norm": 5.0}
    done = drkd.fit(ours, drkd.cross_entropy(), data, **settings)
    torch.manual_seed(QUICK["seed"])
    loader = DetectionLoader(data, data.train, batch_size=3, training=True, seed=QUICK["seed"])
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    plain.to(memory_format=torch.channels_last).train()
    total = 0.0
    for batch in loader.batches(0):
        loss = torch.stack(list(plain(batch.images, batch.targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 5.0)
        optimizer.step()
        total += float(loss.detach()) * len(batch.images)
    assert same(ours, plain)
    assert done.history[0]["loss"] == pytest.approx(total / 8)
    wanted = evaluate_detector(plain, data, "val")
    assert done.history[0]["val_map"] == wanted.map
    assert done.history[0]["val_ar"] == wanted.ar


def test_the_epoch_is_chosen_by_validation_map_and_never_by_the_test_split(data, monkeypatch):
    maps = iter([0.1, 0.4, 0.2])
    asked = []

    def measured(student, data, split):
        asked.append(split)
        weights.append({name: tensor.clone() for name, tensor in student.state_dict().items()})
        value = next(maps)
        return DetectionMetrics(map=value, map50=value, ar=value, per_class={})

    weights = []
    monkeypatch.setattr(learning, "evaluate_detector", measured)
    student, done = train("ssd", data)
    assert done.best_epoch == 1
    assert asked == ["val"] * 3
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in student.state_dict().items())
    assert not student.training


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_step(data):
    student = make("ssd")
    with torch.no_grad():
        next(iter(student.head.regression_head.parameters())).fill_(torch.inf)
    with pytest.raises(NonFiniteLossError, match="step 0"):
        drkd.fit(student, drkd.cross_entropy(), data, **QUICK)


def test_training_finds_more_than_before(data):
    """Coloured shapes on grey: a few epochs must raise the loss's own measure, the training loss."""
    student = make("ssd")
    done = drkd.fit(student, drkd.cross_entropy(), data, **{**QUICK, "epochs": 8, "batch_size": 4, "lr": 0.02})
    assert done.history[-1]["loss"] < 0.8 * done.history[0]["loss"]


def test_defaults_are_those_of_detection(data):
    """A run without settings is bitwise one with `DETECTION`'s."""
    assert {"optimizer": "adamw", "lr": 0.001, "warmup_epochs": 1.0}.items() <= DETECTION.items()
    settings = {name: value for name, value in DETECTION.items() if name in FitSettings.model_fields}
    ours, named = make("ssd"), make("ssd")
    done = drkd.fit(ours, drkd.cross_entropy(), data, epochs=1)
    assert drkd.fit(named, drkd.cross_entropy(), data, **settings, epochs=1).history == done.history
    assert same(ours, named)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"compile": "on"}, "detection takes no --compile on: the number of boxes changes from step to step"),
        ({"optimizer": "adam"}, "optimizer should be 'sgd' or 'adamw', got 'adam'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(data, setting, message):
    with pytest.raises(InputError, match=message):
        drkd.fit(make("ssd"), drkd.cross_entropy(), data, **setting)


@pytest.mark.parametrize("name", [*networks.DETECTORS])
def test_every_named_detector_takes_a_step(name):
    if "resnet50" in name:  # too large for a quick step: it is built without memory
        with torch.device("meta"):
            assert networks.create_detector(name, num_classes=2, image_size=64).training
        return
    detector = networks.create_detector(name, num_classes=2, image_size=64)
    box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([2])}
    losses = detector([torch.rand(3, 48, 64)] * 2, [box, box])
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    detector.eval()
    with torch.no_grad():
        (found,) = detector([torch.rand(3, 48, 64)])
    assert set(found) == {"boxes", "labels", "scores"}


@pytest.mark.parametrize("family", DETECTORS)
def test_bfloat16_trains_as_float32_up_to_rounding(family, data):
    (_, wanted), (_, done) = (train(family, data, precision=name) for name in ("float32", "bfloat16"))
    assert done.history[0]["loss"] != wanted.history[0]["loss"]
    assert done.history[0]["loss"] == pytest.approx(wanted.history[0]["loss"], rel=0.05)


@pytest.mark.parametrize("average", ["ema:0.5", "swa:0.3"])
def test_an_average_is_measured_and_kept(average, data):
    plain, done = make("ssd"), make("ssd")
    last = drkd.fit(plain, drkd.cross_entropy(), data, **QUICK, select="last")
    again = drkd.fit(done, drkd.cross_entropy(), data, **QUICK, select="last", average=average)
    assert again.history[-1]["loss"] == last.history[-1]["loss"]  # the training itself is the same
    assert not same(plain, done)
    assert evaluate_detector(done, data, "val").map == again.history[-1]["val_map"]


def test_weights_come_from_a_local_file_or_not_at_all(tmp_path):
    from drkd.utils.files import write_tensors

    detector = networks.create_detector("ssdlite320_mobilenet_v3", num_classes=2)
    write_tensors(tmp_path / "w.safetensors", detector.state_dict())
    with pytest.warns(UserWarning, match="has no checksum|476 of 476 tensors"):
        again = networks.create_detector("ssdlite320_mobilenet_v3", num_classes=2, weights=tmp_path / "w.safetensors")
    assert same(detector, again)
    with pytest.raises(InputError, match="unknown detector 'resnet18'; choose from small_ssd, ssdlite320"):
        networks.create_detector("resnet18", num_classes=2)


def test_families_are_what_they_are_called():
    from drkd.tasks.detection.positions import family_of

    assert [family_of(make()) for make in (two_stage, ssd, retina)] == ["two_stage", "ssd", "retina"]
