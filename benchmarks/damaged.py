"""A kind of faults.py: a flipped bit, or a cut, in every file that drkd reads of a run and around it."""

import json
import random
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moved import QUICK, Outcomes, outcome, trained, write_photos
from PIL import Image
from sabotage import harm


@dataclass(frozen=True)
class Reading:
    """Something that reads files: its answer says all that was read of them."""

    files: list[Path]
    read: Callable[[], Any]


def flipped_bits(folder: Path, draw: random.Random, *, short: bool) -> Outcomes:
    """Outcomes by reading, 100 damages of each, every second one a cut; if `short` 2, and no exports."""
    rows: dict[str, dict[str, int]] = {}
    for name, reading in readings(folder, draw, formats=() if short else ("onnx", "torch")).items():
        before, noted = _undamaged(reading)
        row: Counter[str] = Counter()
        for number in range(2 if short else 100):
            file = reading.files[number // 2 % len(reading.files)]
            content = file.read_bytes()
            harm(draw, file, flip=number % 2 == 0)
            if file.read_bytes() == content:
                continue
            result, said = outcome(reading.read, before, noted)
            if result == "silent" and any("damage would go unnoticed" in note for note in noted):
                result = "unchecked, as is always said"
            row[result] += 1
            if result in ("silent", "crashed"):
                print(f"{name}, {file.name}: {result}: {str(said)[:300]}", file=sys.stderr)
            file.write_bytes(content)
        rows[f"bits, {name}"] = dict(row)
    return rows


def _undamaged(reading: Reading) -> tuple[Any, frozenset[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answer = reading.read()
    return answer, frozenset(str(warning.message) for warning in caught)


def readings(folder: Path, draw: random.Random, formats: Sequence[str]) -> dict[str, Reading]:
    """Every kind of file with what reads it."""
    runs = _runs(folder, draw)
    return {
        **_of_a_run(folder, runs),
        **_of_studies(runs),
        **_of_networks(folder, runs, formats),
        **_of_data(folder, draw),
    }


@dataclass(frozen=True)
class Runs:
    """What is damaged: runs on a folder of photos, one of them unfinished, a comparison, a search."""

    run: Path
    halfway: Path
    compared: Path
    searched: Path
    photos: Path


def _runs(folder: Path, draw: random.Random) -> Runs:
    from drkd.config import CompareConfig, TuneConfig, resolve
    from drkd.runs.events import ignore_event
    from drkd.studies import comparison, tuning

    photos = write_photos(folder / "photos", draw)
    runs = Runs(folder / "run", folder / "halfway", folder / "compared", folder / "searched", photos)
    trained(photos, runs.run)
    trained(photos, runs.halfway, stopped=True)
    shared = {name: value for name, value in QUICK.items() if name != "method"} | {"data": str(photos), "epochs": 1}
    plan = {**shared, "methods": ["label_smoothing"], "seeds": 1, "jobs": 1}
    comparison.run(*resolve(CompareConfig, plan), runs.compared, on_event=ignore_event)
    search = {**shared, "methods": ["label_smoothing"], "trials": 1}
    tuning.run(*resolve(TuneConfig, search), runs.searched, on_trial=ignore_event)
    return runs


def _of_a_run(folder: Path, runs: Runs) -> dict[str, Reading]:
    from drkd.config import TrainConfig, read_written, resolve
    from drkd.export.card import model_card
    from drkd.runs.data_record import read_record
    from drkd.runs.directory import inspect_run_dir
    from drkd.runs.evaluating import evaluate_run
    from drkd.runs.summary import RunSummary
    from drkd.tasks.loading import load_model

    config, _ = resolve(TrainConfig, {**QUICK, "data": str(runs.photos), "resume": True})
    kept = shutil.copytree(runs.halfway, folder / "kept", symlinks=True)
    checkpoint = max(kept.glob("checkpoints/step-*"), key=lambda path: int(path.name[5:]))

    def resume() -> bytes:
        shutil.rmtree(runs.halfway)
        shutil.copytree(kept, runs.halfway, symlinks=True)
        trained(runs.photos, runs.halfway, resume=True)
        notes = RunSummary.read(runs.halfway).notes
        if damage := [note for note in notes if "is damaged" in note]:
            warnings.warn(damage[0], stacklevel=2)
        return (runs.halfway / "model.safetensors").read_bytes()

    return {
        "config.yaml, evaluate": Reading(
            [runs.run / "config.yaml"], lambda: str(evaluate_run(runs.run, data=None, split="test"))
        ),
        "config.yaml, model card": Reading(
            [runs.run / "config.yaml"], lambda: model_card(runs.run, load_model(runs.run)[1], "me/mine")
        ),
        "config.yaml, resume": Reading(
            [kept / "config.yaml", runs.compared / "config.yaml"],
            lambda: (
                inspect_run_dir(kept, config, finished="summary.json"),
                read_written(runs.compared / "config.yaml"),
            ),
        ),
        "summary.json": Reading([runs.run / "summary.json"], lambda: RunSummary.read(runs.run)),
        "data.json": Reading([runs.run / "data.json"], lambda: read_record(runs.run)),
        "checkpoint": Reading(sorted(checkpoint.iterdir()), resume),
    }


def _of_studies(runs: Runs) -> dict[str, Reading]:
    import numpy as np
    import torch

    import drkd
    from drkd.integrations.common import read_learned, write_learned
    from drkd.report.page import images_of_first_seed
    from drkd.report.plots import read_curves
    from drkd.report.rendering import settings_of
    from drkd.runs.results import ComparisonResults
    from drkd.studies.proposals import History
    from drkd.targets.teacher_cache import TeacherCache

    results = ComparisonResults.read(runs.compared)
    cache = TeacherCache(runs.run.parent / "cache", {"teacher": "its hash", "seed": 0}, limit=10**6)
    cache.write(0, np.random.default_rng(0).random((40, 2)).astype(np.float16))

    def curves() -> str:
        return str({name: curve.tolist() for name, curve in read_curves(results, runs.compared).items()})

    def answers() -> bytes | None:
        found = cache.read(0, rows=40)
        return None if found is None else found.tobytes()

    learned, again = drkd.ps_kd(), drkd.ps_kd()
    for number in range(3):
        learned(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]), index=torch.arange(4) + 4 * number)
        learned.update(progress=number / 3, epoch=0)
    write_learned(learned, runs.run.parent / "learned.safetensors")

    def remembered() -> Any:
        again.reset()
        read_learned(again, runs.run.parent / "learned.safetensors", torch.device("cpu"))
        return again.progress, {name: value.tolist() for name, value in again.state_dict().items()}

    cases = runs.compared / "trainings" / "clean-labels" / "seed-0" / "cross_entropy" / "cases.png"
    with Image.open(sorted((runs.photos / "cat").iterdir())[0]) as image:
        image.resize((64, 64)).save(cases)
    return {
        "learned by an objective": Reading([runs.run.parent / "learned.safetensors"], remembered),
        "cases.png": Reading([cases], lambda: images_of_first_seed(results.panels[0], runs.compared)),
        "results.json": Reading([runs.compared / "results.json"], lambda: ComparisonResults.read(runs.compared)),
        "config.yaml, report": Reading(
            [runs.compared / "config.yaml"], lambda: settings_of(runs.compared / "config.yaml")
        ),
        "metrics.csv": Reading(sorted(runs.compared.rglob("metrics.csv")), curves),
        "trials.json": Reading([runs.searched / "trials.json"], lambda: History.read(runs.searched, stages=[])),
        "teacher cache": Reading(sorted(cache.folder.iterdir()), answers),
    }


def _of_networks(folder: Path, runs: Runs, formats: Sequence[str]) -> dict[str, Reading]:
    import torch
    from safetensors.torch import save_file

    from drkd.config import TrainConfig, resolve
    from drkd.data import load_data
    from drkd.export.exporting import export_run
    from drkd.export.hub import push_run
    from drkd.export.hub_model import HubModel
    from drkd.export.records import ExportRecord
    from drkd.export.runtimes import open_session
    from drkd.models import create_model
    from drkd.models.files import read_model
    from drkd.runs.teachers import load_teacher
    from drkd.tasks.loading import load_model
    from drkd.utils.hashing import content_hash

    network, _ = load_model(runs.run)
    pixels = torch.arange(5 * 192).mul(7).remainder(256).to(torch.uint8).view(5, 3, 8, 8)
    data, (config, _) = load_data(runs.photos), resolve(TrainConfig, {**QUICK, "data": str(runs.photos)})
    torch.save(network.state_dict(), folder / "theirs.pt")
    save_file(network.state_dict(), folder / "theirs.safetensors")
    shutil.copyfile(runs.run / "model.safetensors", folder / "ours.safetensors")
    teacher = shutil.copytree(runs.run, folder / "teacher")
    shared = push_run(runs.run, out=folder / "hub").folder

    def weights(name: str) -> Reading:
        def read() -> str:
            path = folder / name
            return content_hash(
                create_model("mlp", num_classes=2, image_size=8, channels=3, weights=str(path)).state_dict()
            )

        return Reading([folder / name], read)

    def of_model() -> Any:
        tensors, own = read_model(runs.run)
        return content_hash(tensors), own

    def of_hub() -> Any:
        loaded = HubModel.from_pretrained(str(shared))
        return content_hash(loaded.state_dict()), loaded.info

    found = {
        "model.safetensors": Reading([runs.run / "model.safetensors"], of_model),
        "teacher": Reading(
            [teacher / "model.safetensors"],
            lambda: content_hash(load_teacher(str(teacher), config, data).state_dict()),
        ),
        "--weights of drkd": weights("ours.safetensors"),
        "--weights, .pt": weights("theirs.pt"),
        "--weights of others": weights("theirs.safetensors"),
        "HubModel": Reading([shared / "config.json", shared / "model.safetensors"], of_hub),
    }
    for format in formats:
        path = export_run(runs.run, format).path
        moved = folder / f"moved-{path.name}"
        shutil.copyfile(path, moved)

        def answers(path: Path) -> Callable[[], bytes]:
            return lambda: open_session(path, allow_code=True)(pixels.numpy()).tobytes()

        record = path.with_name(f"{path.name}.json")
        found |= {
            f"export, {format}": Reading([path, record], answers(path)),
            f"export, {format}, its record": Reading([record], lambda path=path: ExportRecord.read(path)),
            f"export, {format}, moved alone": Reading([moved], answers(moved)),
        }
    return found


def _of_data(folder: Path, draw: random.Random) -> dict[str, Reading]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from drkd.runs.evaluating import evaluate_run
    from drkd.runs.summary import RunSummary

    photos = write_photos(folder / "own-photos", draw, 15)
    trained(photos, folder / "of-photos")
    rows = []
    for label in range(2):
        for file in sorted((photos / ("cat", "dog")[label]).iterdir()):
            rows.append({"image": {"bytes": file.read_bytes(), "path": file.name}, "label": label})
    table = folder / "table"
    table.mkdir()
    names = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        metadata={b"huggingface": json.dumps(names).encode()},
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), table / "train.parquet")
    trained(table, folder / "of-table")

    def uses(data: Path, run: Path) -> Callable[[], Any]:
        def read() -> Any:
            trained(data, run, resume=True)
            return evaluate_run(run, data=None, split="test"), RunSummary.read(run).test

        return read

    def evaluates(run: Path) -> Callable[[], Any]:
        return lambda: evaluate_run(run, data=None, split="test")

    images = sorted(photos.rglob("*.bmp"))
    return {
        "images, resume": Reading(images, uses(photos, folder / "of-photos")),
        "images, evaluate": Reading(images, evaluates(folder / "of-photos")),
        "parquet, resume": Reading([table / "train.parquet"], uses(table, folder / "of-table")),
        "parquet, evaluate": Reading([table / "train.parquet"], evaluates(folder / "of-table")),
    }
