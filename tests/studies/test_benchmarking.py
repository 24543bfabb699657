"""Benchmarks: who is measured, in which order, and the arithmetic. Nothing depends on how fast the machine is."""

import json
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

import drkd
from drkd import InputError
from drkd.config import BenchConfig, resolve
from drkd.methods import all_methods
from drkd.report.speed import print_bench
from drkd.studies import benchmarking
from drkd.studies.benchmarking import bench
from drkd.studies.contenders import CACHED, Contender, made_up
from drkd.targets import Cached
from drkd.utils import timing
from image_files import run_cli

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import speed
from naive import NaiveLoop, PerSample, naive_loss, per_sample_loader, swap_in_place

TINY = {"model": "mlp", "image_size": 4, "batch_size": 4, "classes": 3, "rounds": 2, "device": "cpu"}


def tiny(**changes):
    return BenchConfig(**{**TINY, **changes})


class Works:
    """Contenders that take known times by a clock of their own."""

    def __init__(self, **seconds):
        self.now, self.log, self.left = 0.0, [], {name: iter(times) for name, times in seconds.items()}

    def clock(self):
        return self.now

    def contender(self, name):
        def work():
            self.log.append(name)
            self.now += next(self.left[name])

        return work


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "found.json"
    return bench(tiny(out=str(out))), out


def test_contenders_take_turns_and_the_warm_up_does_not_count():
    works = Works(a=[90.0, 90.0, 1.0, 4.0, 2.0], b=[70.0, 70.0, 3.0, 2.0, 2.0])
    turns = {name: works.contender(name) for name in "ab"}
    seconds = timing.take_turns(turns, rounds=3, clock=works.clock)
    assert works.log == ["a", "b"] * 5
    assert seconds == {"a": [1.0, 4.0, 2.0], "b": [3.0, 2.0, 2.0]}
    assert timing.spread(seconds["a"]) == {"median": 2.0, "min": 1.0, "max": 4.0}
    assert timing.ratios(seconds["b"], seconds["a"]) == {"median": 1.0, "min": 0.5, "max": 3.0}


def test_every_method_is_measured_beside_cross_entropy(found):
    methods = found[0].methods
    assert list(methods) == [*BenchConfig().methods[:5], CACHED, *BenchConfig().methods[5:]]
    assert methods["cross_entropy"].ratio == {"median": 1.0, "min": 1.0, "max": 1.0}
    for cost in methods.values():
        assert cost.peak_mib > 0
        for measured in (cost.milliseconds, cost.ratio, cost.objective_share):
            assert 0 < measured["min"] <= measured["median"] <= measured["max"]


def test_loader_and_epoch_are_measured(found):
    for measured in (found[0].loader, found[0].epoch.ratio):
        assert 0 < measured["min"] <= measured["median"] <= measured["max"]


def test_the_file_holds_what_was_returned(found):
    written = json.loads(found[1].read_text())
    assert written == found[0].to_json()
    assert written["methods"]["dr_kd"]["ratio"] == found[0].methods["dr_kd"].ratio
    assert written["loader"] == {"images_per_second": found[0].loader}
    assert found[0].environment["threads"] == 1
    assert found[0].settings.device == "cpu"


def test_the_table_names_every_method(found, capsys):
    print_bench(found[0], Console(width=160))
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("Cross-entropy ", "DR-KD, cached", "Online DR-KD", "images per second"))
    assert "Median [range]" in shown


def test_a_clock_of_ones_gives_known_figures():
    ticks = iter(range(10**6))
    found = bench(tiny(methods=["tf_kd_self"]), clock=lambda: next(ticks))
    assert found.methods["tf_kd_self"].milliseconds == {"median": 1000.0, "min": 1000.0, "max": 1000.0}
    assert found.methods["tf_kd_self"].objective_share["median"] == 1.0
    samples = benchmarking.EPOCH_STEPS * TINY["batch_size"]
    assert found.loader["median"] == samples
    assert found.epoch.ratio["median"] == 1.0


def test_every_known_method_can_be_measured():
    contenders = {name: Contender(name, tiny()) for name in all_methods()}
    timing.take_turns({name: contender.step for name, contender in contenders.items()}, rounds=1)
    timing.take_turns({name: contender.objective_alone for name, contender in contenders.items()}, rounds=1)
    assert all(contender.state.result.step == timing.WARM_UP + 1 for contender in contenders.values())


def test_a_contender_steps_like_the_training_loop():
    """A step changes weights and memory, the objective alone neither; after the warm-up every image is known."""
    contender = Contender("ps_kd", tiny())
    first = [parameter.clone() for parameter in contender.state.student.parameters()]
    for _ in range(timing.WARM_UP):
        contender.step()
    assert any(not torch.equal(*pair) for pair in zip(first, contender.state.student.parameters(), strict=True))
    (seen,) = (value for name, value in contender.state.objective.state_dict().items() if name.endswith("seen"))
    assert seen.sum() == timing.WARM_UP * TINY["batch_size"]
    before = {name: value.clone() for name, value in contender.state.objective.state_dict().items()}
    contender.objective_alone()
    assert all(torch.equal(value, before[name]) for name, value in contender.state.objective.state_dict().items())


def test_the_cached_teacher_is_looked_up_and_never_asked():
    contender = Contender(CACHED, tiny())
    (teacher,) = (part for part in contender.state.objective.modules() if isinstance(part, Cached))
    teacher.teacher.answer = None
    taught = []
    for _ in range(timing.WARM_UP + 1):
        contender.step()
        batch = contender.batch
        taught.append(teacher(drkd.StudentBatch(contender.logits, batch.labels, batch.inputs, batch.index)).logits)
    first, second, again = taught
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_the_student_is_laid_out_as_fit_does_it():
    def last(model, **changes):
        contender = Contender("dr_kd", tiny(model=model, image_size=32, **changes))
        weights = [p for p in contender.state.student.parameters() if p.dim() == 4 and p.shape[1] > 1]
        return weights[1].is_contiguous(memory_format=torch.channels_last)

    assert last("small_cnn")
    assert not last("small_cnn", memory_format="contiguous")
    assert not last("alexnet")


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"round": 3}, "unknown option 'round'; did you mean rounds?"),
        ({"rounds": 0}, "--rounds should be greater than or equal to 1, got 0"),
        ({"batch_size": 1}, "--batch-size should be greater than or equal to 2, got 1"),
        ({"compile": "auto"}, "--compile should be 'on' or 'off', got 'auto'"),
        ({"model": "mpl"}, "unknown model 'mpl'"),
        ({"methods": "cross_entropy,dr-kdd"}, "unknown method 'dr-kdd'; did you mean dr_kd?"),
        ({"model": "alexnet", "image_size": 16}, "alexnet"),
        ({"device": "nowhere"}, "the device 'nowhere' cannot be used here"),
        ({"out": "no/such/folder/found.json"}, "--out should be a file in a folder that exists"),
    ],
)
def test_bad_options_are_one_input_error(given_, message):
    with pytest.raises(InputError) as caught:
        bench(resolve(BenchConfig, {"device": "cpu", **given_})[0])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_measures_and_writes(tmp_path, capsys):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    out = tmp_path / "found.json"
    assert run_cli("bench", *options, "--methods", "dr_kd", "--out", out) == 0
    assert list(json.loads(out.read_text())["methods"]) == ["cross_entropy", "dr_kd", CACHED]
    assert "DR-KD, cached" in capsys.readouterr().out


def test_peak_memory_counts_what_is_held_at_once():
    def two_at_once():
        first = torch.zeros(1000)
        second = first.clone()
        del first
        return second.clone()

    assert timing.peak_bytes(two_at_once) == 2 * 4000
    assert timing.peak_bytes(lambda: None) == 0


def test_the_naive_loss_is_the_public_codes():
    v = 3 * torch.randn(7, 5, dtype=torch.float64)
    v[0, 1] = v[0, 3] = v[0].max() + 1  # a tie
    labels = torch.tensor([3, 0, 1, 2, 3, 4, 0])
    z = torch.randn(7, 5, dtype=torch.float64)
    both = [z.clone().requires_grad_() for _ in range(2)]
    settings = {"alpha": 0.95, "temperature": 6.0, "multiplier": 50.0}
    ours = drkd.dr_kd(lambda _: v, convention="reference", **settings)(both[0], labels, inputs=z)["loss"]
    theirs = naive_loss(both[1], v.clone(), labels, **settings)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(theirs, ours, rtol=1e-12, atol=0)
    torch.testing.assert_close(both[1].grad, both[0].grad, rtol=1e-9, atol=1e-12)
    assert torch.equal(swap_in_place(v.clone(), labels), drkd.swap(v, labels))


def test_the_naive_loop_steps():
    student, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
    loop = NaiveLoop(student, teacher, [(torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))])
    before = student.weight.clone()
    for _ in range(2):
        loop.step()
    assert loop.steps == 2
    assert not torch.equal(student.weight, before)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_the_per_sample_pipeline_serves_normalised_images():
    data = made_up(tiny(image_size=8), 10)
    samples = PerSample(data.train.inputs, data.train.labels, data.mean, data.std)
    batches = list(per_sample_loader(samples, batch_size=4, workers=0))
    assert [inputs.shape for inputs, _ in batches] == [(4, 3, 8, 8), (4, 3, 8, 8), (2, 3, 8, 8)]
    assert torch.cat([labels for _, labels in batches]).sort().values.equal(data.train.labels.sort().values)
    values = torch.cat([inputs for inputs, _ in batches])
    assert values.min() == -2.0  # black: the rotation's corners, the crop's border
    assert values.max() <= 2.0


def test_targets_are_met_from_either_side():
    one, two = ({"median": value, "min": value, "max": value} for value in (1.0, 2.0))
    assert speed.Row("p", "w", one, most=1.5).met is True
    assert speed.Row("p", "w", two, most=1.5).met is False
    assert speed.Row("p", "w", two, least=1.5).met is True
    assert speed.Row("p", "w", two).met is None
    assert speed.Row("p", "w", two, least=3.0).cells() == ["w", "2.00 [2.00, 2.00] x", ">= 3.0", "missed"]


@pytest.mark.parametrize("part", ["steps", "naive", "teacher", "epoch"])
def test_a_part_of_the_table_is_printed_and_kept(part, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "setting", lambda arguments, model, **changes: tiny(**{**changes, "rounds": 1}))
    file = tmp_path / "speed.json"
    arguments = ["--parts", part, "--models", "mlp", "--threads", "1", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["speed.py", *arguments])
    speed.main()
    kept, printed = json.loads(file.read_text()), capsys.readouterr().out
    assert kept["rows"]
    assert {row["part"] for row in kept["rows"]} == {part}
    assert all(row["what"] in printed for row in kept["rows"])
