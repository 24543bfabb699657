"""The best of several networks under a device's budget."""

import json
from dataclasses import asdict

import pytest
from rich.console import Console

import drkd
from drkd import InputError, ParityError
from drkd.cli.trials import Trials, print_networks, study_command
from drkd.config import TuneConfig, resolve
from drkd.export.writing import example
from drkd.report.networks import draw_networks
from drkd.studies import budgets, tuning
from drkd.studies.budgets import affordable
from drkd.studies.found import Exported, Measured, NetworkResults, TuneResults, pareto_front
from drkd.studies.searching import NetworksMeasured, TrialDone

TABLE = [Measured("mlp", 0.1, 0.11), Measured("small_cnn", 0.3, 0.1), Measured("cnn", 2.0, 1.4)]
QUICK = {"epochs": 1, "limit_train": 60, "limit_test": 60, "jobs": 1, "methods": ["ps_kd"], "search": ["method"]}


@pytest.mark.parametrize(
    ("budget", "fit"),
    [
        ({}, ["mlp", "small_cnn", "cnn"]),
        ({"max_ms": 0.3}, ["mlp", "small_cnn"]),
        ({"max_mb": 0.105}, ["small_cnn"]),
        ({"max_ms": 1.0, "max_mb": 0.2}, ["mlp", "small_cnn"]),
    ],
)
def test_only_networks_within_the_budget_are_searched(budget, fit):
    config, _ = resolve(TuneConfig, {"networks": "mlp,small_cnn,cnn", **budget})
    assert [each.network for each in affordable(config, TABLE)] == fit


def test_a_budget_that_nothing_fits_is_refused_with_what_was_measured():
    config, _ = resolve(TuneConfig, {"networks": "mlp,cnn", "max_ms": 0.05, "max_mb": 1})
    with pytest.raises(InputError, match=r"within 0\.05 ms and 1 MB \(mlp: 0\.1 ms, 0\.11 MB; small_cnn: .*smaller"):
        affordable(config, TABLE)


def test_the_front_holds_what_nothing_else_beats():
    ms, accuracy = [3.0, 1.0, 2.0, 2.0, 4.0], [0.7, 0.5, 0.7, 0.6, 0.9]

    def beaten(each):
        others = [k for k in range(5) if k != each]
        return any(
            ms[k] <= ms[each] and accuracy[k] >= accuracy[each] and (ms[k], accuracy[k]) != (ms[each], accuracy[each])
            for k in others
        )

    assert (
        pareto_front(ms, accuracy) == sorted((k for k in range(5) if not beaten(k)), key=lambda k: ms[k]) == [1, 2, 4]
    )


@pytest.fixture
def measured(monkeypatch):
    """A table in place of a clock, and of files that nobody reads; what was measured."""
    asked = []
    monkeypatch.setattr(
        budgets, "write_onnx", lambda network, manifest, file: file.write_bytes(bytes(network(example(manifest)).shape))
    )

    def measure(config, files, networks):
        assert len(files) == len(networks)
        asked.append(list(networks))
        return [next(each for each in TABLE if each.network == network) for network in networks]

    monkeypatch.setattr(budgets, "_measure", measure)
    return asked


def test_the_most_accurate_network_within_the_budget_is_exported_and_measured_again(tmp_path, measured, monkeypatch):
    events = []
    out = tmp_path / "run"
    options = {**QUICK, "networks": ["mlp", "cnn"], "max_ms": 1, "trials": 1, "out": str(out)}
    found = drkd.tune(**options, on_trial=events.append)
    assert measured == [["mlp", "cnn"], ["mlp"]]
    assert events[0] == NetworksMeasured([TABLE[0]], [TABLE[2]])
    assert {event.variant.partition(", ")[0] for event in events if isinstance(event, TrialDone)} == {"mlp"}
    networks = found.networks
    assert (networks.chosen, networks.front, list(networks.searches)) == ("mlp", ["mlp"], ["mlp"])
    assert (networks.exported.measured, networks.exported.fits) == (TABLE[0], True)
    assert (out / networks.exported.file).is_file()
    assert found.results == networks.searches["mlp"]
    assert {name: value for name, value in json.loads((out / "tune.json").read_text()).items() if name != "sha256"} == (
        json.loads(json.dumps(asdict(networks)))
    )
    config, source = resolve(TuneConfig, options)
    assert " --model mlp " in study_command(found, config, source)

    def differs(*arguments):
        raise ParityError("it differs")

    monkeypatch.setattr(tuning, "measure_chosen", differs)
    again = drkd.tune(**{**options, "resume": True})
    assert len(measured) == 2  # the table was kept
    assert again.results.trials == found.results.trials
    assert (again.networks.exported, again.networks.problem) == (None, "it differs")


def test_networks_need_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"install drkd\[onnx\]"):
        drkd.tune(**QUICK, networks=["mlp"], out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def results(accuracy):
    return TuneResults(0.1, 0.5, {"0.1": 0.5}, "ps_kd:alpha=0.5", accuracy, [], {}, best_test_score=accuracy - 0.05)


def test_networks_are_printed_and_drawn(tmp_path, capsys):
    exported = Exported("networks/cnn/model.onnx", Measured("cnn", 2.2, 1.4), fits=False, agreement=1.0)
    found = NetworkResults(
        measured=[TABLE[2], TABLE[0], TABLE[1]],
        max_ms=2.1,
        max_mb=None,
        threads=1,
        searches={"mlp": results(0.5), "cnn": results(0.75)},
        chosen="cnn",
        front=["mlp", "cnn"],
        exported=exported,
        environment={},
    )
    print_networks(found, Console(width=200))
    with Trials(Console(width=200), 2) as shown:
        shown.on_trial(NetworksMeasured(TABLE[:1], TABLE[2:]))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["mlp", "0.1", "0.11", "50.00", "45.00", "ps_kd:alpha=0.5"]
    assert lines[2] == ["small_cnn", "0.3", "0.10", "over", "the", "budget"]
    assert lines[3][:5] == ["cnn", "2", "1.40", "75.00", "70.00"]
    assert "cnn, exported: 2.2 ms an image, 1.40 MB, NOT within the budget" in " ".join(lines[5])
    assert " ".join(lines[-2]) == "mlp, exported: 0.1 ms an image, 0.11 MB: searched"
    assert " ".join(lines[-1]) == "cnn, exported: 2 ms an image, 1.40 MB: over budget, skipped"
    file = draw_networks(found, tmp_path)
    assert file.stat().st_size > 5000
    svg = (tmp_path / "tune.svg").read_text()
    assert "cnn" in svg
    assert "budget 2.1 ms" in svg
