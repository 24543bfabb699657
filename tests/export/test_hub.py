import dataclasses
import json
import shutil
import types
import warnings
from pathlib import Path

import pytest
import torch
import yaml

import drkd
from drkd import HubModel, InputError, push_run
from drkd.export import hub, runtimes
from drkd.export.card import model_card
from drkd.runs.results import ComparisonResults, Difference
from drkd.tasks.loading import load_model
from image_files import run_cli


@pytest.fixture(scope="module")
def folder(run, exported, tmp_path_factory):
    return push_run(run, out=tmp_path_factory.mktemp("hub") / "mine").folder


def normalised(pixels, info):
    mean, std = (torch.tensor(getattr(info, name)).view(1, -1, 1, 1) for name in ("mean", "std"))
    return (pixels.float() / 255 - mean) / std


def test_a_folder_loads_back_to_the_same_logits_to_the_bit(run, folder, tmp_path, capsys):
    model, info = load_model(run)
    pixels = drkd.load_data("digits").test.inputs[:50]
    with torch.no_grad():
        expected = model(normalised(pixels, info))
        first = HubModel.from_pretrained(str(folder))
        assert torch.equal(first(pixels), expected)
        first.save_pretrained(tmp_path / "again")
        assert torch.equal(HubModel.from_pretrained(str(tmp_path / "again"))(pixels), expected)
    assert not first.training
    capsys.readouterr()
    for path in (folder, tmp_path / "again"):
        assert (path / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
        defaults = {"margin": 1.0, "interpolation": "bilinear", "temperature": 1.0, "task": "classification"}
        assert defaults | json.loads((path / "config.json").read_text()) == defaults | info.to_json()
        assert load_model(path)[1] == info


def test_nothing_else_is_in_the_folder(folder):
    assert {file.name for file in folder.iterdir()} == {"README.md", "config.json", "model.safetensors"}


def test_the_card_says_what_was_measured(run, exported, folder):
    text = (folder / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    assert yaml.safe_load(header)["pipeline_tag"] == "image-classification"
    summary = json.loads((run / "summary.json").read_text())
    for split in ("test", "val"):
        assert f"| {split} | {100 * summary[split]['accuracy']:.4g} | {summary[split]['nll']:.4g} |" in body
    test = summary["test"]
    assert f"divide them by {test['temperature']:.6g}, the temperature" in body
    assert f"changes ECE from {100 * test['ece']:.2f}% to {100 * test['calibrated_ece']:.2f}%." in body
    assert "- Data: `digits`" in body
    assert "- Method: `cross_entropy`\n" in body
    assert "`epochs` 4" in body
    assert "`limit_train` 600" in body
    assert f"| {100 * exported['int8'].parity.accuracy_after:.2f} | " in body
    assert 'from_pretrained("OWNER/NAME")' in body


def test_the_card_names_no_path_on_this_machine(run, tmp_path):
    _, info = load_model(run)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text((run / "summary.json").read_text())
    settings = (run / "config.yaml").read_text().replace("data: digits", "data: /home/me/secret/flowers")
    (tmp_path / "run" / "config.yaml").write_text(settings + "cache: /home/me/cache\n")
    with pytest.warns(UserWarning, match="data is '/home/me/secret/flowers', was 'digits', cache is .*, was None"):
        card = model_card(tmp_path / "run", info, "me/flowers")
    assert "- Data: `flowers`" in card
    assert "/home" not in card


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "teacher is a frozen copy of the network itself"),
        ("teacher: /home/me/big\n", "teacher is another network, `big`"),
        (
            "teacher: out/trainings/clean-labels/seed-0/cross_entropy\n",
            "teacher is a frozen copy of the network itself",
        ),
        ("teacher: out/trainings/clean-labels/seed-1/cross_entropy\n", "teacher is another network, `cross_entropy`"),
        ("teacher_folds: 2\n", "teachers are 2 copies of the network itself, each trained without the images that it"),
        ("teacher: a/teachers-2\nteacher_folds: 2\n", "teachers are 2 copies of the network itself, each trained"),
    ],
)
def test_the_card_says_who_taught(run, tmp_path, given, said):
    _, info = load_model(run)
    summary = json.loads((run / "summary.json").read_text())
    del summary["sha256"]
    taught = {**summary, "method": "kd", "teacher": {"path": "teacher", "sha256": "0"}}
    out = tmp_path / "trainings" / "clean-labels" / "seed-0" / "kd"
    out.mkdir(parents=True)
    (out / "summary.json").write_text(json.dumps(taught))
    lines = (run / "config.yaml").read_text().splitlines(keepends=True)
    own = [line for line in lines if not line.startswith(("#", "teacher:", "teacher_folds:"))]
    (out / "config.yaml").write_text("".join(own) + given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what differs from the weights' own record
        card = model_card(out, info, "me/mine")
    assert f"- Method: `kd`; the {said}" in card


def test_the_card_names_the_first_of_many_classes(run):
    _, info = load_model(run)
    card = model_card(run, dataclasses.replace(info, classes=tuple(f"c{i}" for i in range(100))), "me/mine")
    assert "for 100 classes" in card
    assert ", c18, c19 and 80 more (config.json).\n" in card


def test_the_card_of_a_training_of_a_comparison_gives_intervals(run, tmp_path):
    """Which are those of its own method and panel."""
    _, info = load_model(run)
    path = tmp_path / "trainings" / "label-noise-20%" / "seed-0" / "dr_kd,alpha=0.5"
    path.mkdir(parents=True)
    for name in ("summary.json", "config.yaml"):
        (path / name).write_text((run / name).read_text())

    def test(method, panel, mean):
        ci95 = (mean - 0.01, mean + 0.01)
        return Difference(panel, method, "cross_entropy", "accuracy", mean, ci95, p_value=0.02, seeds=5, p_holm=0.04)

    mine = test("dr_kd:alpha=0.5", "label noise 20%", 0.025)
    others = [test("ps_kd", "label noise 20%", 0.5), test("dr_kd:alpha=0.5", "clean labels", 0.7)]
    ComparisonResults([], [others[0], mine, others[1]], {}).write(tmp_path)
    card = model_card(path, info, "me/mine")
    assert "| Accuracy % | cross_entropy | +2.5 | +1.5 to +3.5 | 0.040 | 5 |" in card
    assert "+50" not in card
    assert "+70" not in card


def test_a_dry_run_shows_the_card_and_sends_nothing(run, tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise AssertionError("a dry run needs no Hub")

    monkeypatch.setattr(hub, "needed", refuse)
    assert run_cli("push", run, "me/mine", "--out", tmp_path / "mine") == 0
    shown = capsys.readouterr().out
    assert (tmp_path / "mine" / "README.md").read_text() in shown
    assert 'from_pretrained("me/mine")' in shown
    assert f"Nothing was sent. To send these files: drkd push {run} me/mine --send" in shown


def test_sending_makes_a_private_repository_and_uploads_the_three_files(run, tmp_path, monkeypatch, capsys):
    """With a stand-in for the Hub."""
    calls = []

    class Api:
        def create_repo(self, repo, **options):
            calls.append(("create", repo, options))

        def upload_folder(self, **options):
            there = {file.name for file in Path(options["folder_path"]).iterdir()}
            calls.append(("upload", options["repo_id"], {**options, "there": there}))
            return "https://hub/me/mine/commit/1"

    monkeypatch.setattr(hub, "needed", lambda *_: types.SimpleNamespace(HfApi=Api))
    assert run_cli("push", run, "me/mine", "--out", tmp_path / "mine", "--send") == 0
    assert "Sent: https://hub/me/mine/commit/1" in capsys.readouterr().out
    (made, repo, options), (sent, to, upload) = calls
    assert (made, repo, sent, to) == ("create", "me/mine", "upload", "me/mine")
    assert options == {"repo_type": "model", "private": True, "exist_ok": True}
    assert set(upload["allow_patterns"]) == upload["there"] == set(hub.FILES)
    push_run(run, "me/mine", out=tmp_path / "mine", send=True, public=True)
    assert calls[2][2]["private"] is False


@pytest.mark.parametrize("repo", [None, "mine", "a/b/c", "/mine"])
def test_sending_needs_a_whole_name(run, tmp_path, repo):
    with pytest.raises(InputError, match="sending needs the repository as OWNER/NAME, got"):
        push_run(run, repo, out=tmp_path / "mine", send=True)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_finished_run_is_refused(run, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="is not a finished run"):
        push_run(tmp_path)
    monkeypatch.setattr(runtimes, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name=name)))
    with pytest.raises(InputError, match=r"this needs huggingface_hub, which is not installed; install drkd\[hub\]"):
        push_run(run, "me/mine", out=tmp_path / "mine", send=True)
    assert list(tmp_path.iterdir()) == []


def test_names_in_a_card_are_text(run):
    info = load_model(run)[1]
    names = ("<script>alert(1)</script>", "![x](http://a)", "a|b", "**bold**", "a\n# b", "\x1b[31m", "caf\u00e9_1", "`")
    card = model_card(run, dataclasses.replace(info, classes=names), 'me/"; import os')
    assert "<script>" not in card
    for text in (
        "&lt;script&gt;",
        r"\!\[x\](http://a)",
        r"a\|b",
        r"\*\*bold\*\*",
        r"a\\n\# b",
        r"\\x1b\[31m",
        "caf\u00e9_1",
        r"\`",
    ):
        assert text in card
    assert r'from_pretrained("me/\"; import os")' in card


@pytest.mark.parametrize(
    "change", [{"std": [0.7]}, {"mean": [0.1]}, {"classes": list("jihgfedcba")}, {"image_size": 16}, {"model": "mlp"}]
)
def test_an_edited_description_is_refused(folder, tmp_path, change):
    for file in folder.iterdir():
        shutil.copy(file, tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**about, **change}))
    with pytest.raises(InputError, match=rf"config.json says {next(iter(change))} .*: one of them was changed"):
        HubModel.from_pretrained(str(tmp_path))


@pytest.mark.parametrize("text", ['{"model": ', '{"mod": "mlp"}', "[]", ""])
def test_a_damaged_description_is_refused(folder, tmp_path, text):
    for file in folder.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(
        InputError, match=r"is not a folder of `drkd push`, or its config.json is damaged: .*; copy it again"
    ):
        HubModel.from_pretrained(str(tmp_path))


def test_a_margin_is_kept(tmp_path):
    small = {"model": "mlp", "classes": ["a", "b"], "image_size": 4, "channels": 1, "mean": [0.5], "std": [0.5]}
    HubModel(**small, margin=1.25).save_pretrained(tmp_path)
    assert HubModel.from_pretrained(str(tmp_path)).info.margin == 1.25


def test_a_flipped_bit_in_a_shared_model_is_found(folder, tmp_path):
    for file in folder.iterdir():
        shutil.copy(file, tmp_path)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-100] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="is damaged: its content is not what was written"):
        HubModel.from_pretrained(str(tmp_path))
