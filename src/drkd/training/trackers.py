"""What a training reports to TensorBoard, MLflow or Weights & Biases, where it is asked to (`--log`).

Each is the tracker's own library, an extra of drkd. Metrics are the columns of `metrics.csv` by epoch, under the names
`train/...` and `val/...`; the options are hyper-parameters; at the end come the metrics on the test split, `test/...`.
Nothing else of a run changes. `trackers.json` in the run directory says how far each of them is, so that a resumed
training continues the same run and reports no epoch twice.
"""

import importlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from drkd.utils.errors import InputError
from drkd.utils.files import write_text

FILE = "trackers.json"
PROJECT = "drkd"
"""The project or experiment of all runs, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME names another."""

LONGEST = 250
"""Characters of a hyper-parameter that MLflow takes in any version."""

Values = Mapping[str, float]


class Tracker(Protocol):
    """One tracker's side of a run.

    Attributes:
        id: by which the tracker knows the run.
    """

    id: str

    def log(self, values: Values, epoch: int) -> None: ...

    def finish(self, values: Values, parameters: Mapping[str, Any]) -> None: ...

    def close(self, *, finished: bool) -> None: ...


class TensorBoard:
    """Writes event files into `tensorboard/` of the run directory."""

    def __init__(self, name: str, out: Path | None, parameters: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        module = importlib.import_module("torch.utils.tensorboard")
        folder = None if out is None else str(out / "tensorboard")
        self.writer = module.SummaryWriter(folder, purge_step=known["epoch"] + 1 if known else None)
        self.id = str(self.writer.log_dir)

    def log(self, values: Values, epoch: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def finish(self, values: Values, parameters: Mapping[str, Any]) -> None:
        plain = {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in parameters.items()}
        self.writer.add_hparams(plain, dict(values), run_name=".")

    def close(self, *, finished: bool) -> None:
        self.writer.close()


class Mlflow:
    """A run where MLFLOW_TRACKING_URI says, by default in MLflow's own folder."""

    def __init__(self, name: str, out: Path | None, parameters: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        self.entities = importlib.import_module("mlflow.entities")
        self.client = importlib.import_module("mlflow.tracking").MlflowClient()
        if known:
            self.id = known["id"]
            self.client.set_tag(self.id, "drkd.resumed", "true")
            return
        tags = {"mlflow.runName": name, "drkd.out": str(out), "drkd.group": group_of(out) or ""}
        self.id = self.client.create_run(self._experiment(), tags=tags).info.run_id
        kept = [self.entities.Param(key, str(value)[:LONGEST]) for key, value in parameters.items()]
        self.client.log_batch(self.id, params=kept)

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        try:
            if (found := self.client.get_experiment_by_name(name)) is None:
                return str(self.client.create_experiment(name))
        except Exception:  # another training made it meanwhile
            found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id)

    def log(self, values: Values, epoch: int) -> None:
        now = int(1000 * time.time())
        metrics = [self.entities.Metric(name, value, now, epoch) for name, value in values.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def finish(self, values: Values, parameters: Mapping[str, Any]) -> None:
        self.log(values, 0)

    def close(self, *, finished: bool) -> None:
        self.client.set_terminated(self.id, "FINISHED" if finished else "KILLED")


class Wandb:
    """A run of Weights & Biases; with WANDB_MODE=offline in `wandb/` of the run directory alone."""

    def __init__(self, name: str, out: Path | None, parameters: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        wandb = importlib.import_module("wandb")
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            group=group_of(out),
            config=dict(parameters),
            dir=None if out is None else str(out),
            id=known.get("id"),
            resume="allow" if known else None,
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True),
        )
        self.id = str(self.run.id)

    def log(self, values: Values, epoch: int) -> None:
        self.run.log(dict(values), step=epoch)

    def finish(self, values: Values, parameters: Mapping[str, Any]) -> None:
        self.run.summary.update(dict(values))

    def close(self, *, finished: bool) -> None:
        self.run.finish(exit_code=0 if finished else 1)


KINDS: dict[str, type[TensorBoard] | type[Mlflow] | type[Wandb]] = {
    "tensorboard": TensorBoard,
    "mlflow": Mlflow,
    "wandb": Wandb,
}


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that cannot be used, before anything is trained.

    Raises:
        InputError: that names the extra to install, or how to log in.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would report its own use
    for name in names:
        try:
            module = importlib.import_module("torch.utils.tensorboard" if name == "tensorboard" else name)
        except ImportError as reason:
            raise InputError(f"--log {name} needs {name} ({reason}); install drkd[{name}]") from reason
        online = os.environ.get("WANDB_MODE", "online") in ("online", "run")
        if name == "wandb" and online and not getattr(module.api, "api_key", None):
            raise InputError("--log wandb needs a login; run `wandb login`, or set WANDB_MODE=offline")


class Trackers:
    """All trackers of one run.

    Args:
        names: which ones.
        name: of the run, as they show it.
        out: its run directory, if it has one.
        parameters: its options.
    """

    def __init__(self, names: Sequence[str], name: str, out: Path | None, parameters: Mapping[str, Any]) -> None:
        self.parameters = {key: value for key, value in parameters.items() if key not in ("log", "out", "resume")}
        self.file = None if out is None else out / FILE
        self.known: dict[str, dict[str, Any]] = {}
        if self.file is not None and self.file.is_file():
            self.known = json.loads(self.file.read_text(encoding="utf-8"))
        self.open: dict[str, Tracker] = {}
        for kind in names:
            self.open[kind] = KINDS[kind](name, out, self.parameters, self.known.get(kind, {}))
            self.known.setdefault(kind, {"epoch": -1})["id"] = self.open[kind].id

    def epoch(self, row: Values) -> None:
        """Report the row of an epoch to those that do not have it."""
        for kind, tracker in self.open.items():
            if row["epoch"] > self.known[kind]["epoch"]:
                tracker.log(by_split(row), int(row["epoch"]))
                self.known[kind]["epoch"] = int(row["epoch"])
        if self.open and self.file is not None:
            write_text(self.file, json.dumps(self.known), flush=False)

    def finish(self, measured: Mapping[str, Any]) -> None:
        """Report the metrics on the test split."""
        numbers = {f"test/{name}": value for name, value in measured.items() if isinstance(value, int | float)}
        for tracker in self.open.values():
            tracker.finish(numbers, self.parameters)


@contextmanager
def tracked_run(names: Sequence[str], name: str, out: Path | None, parameters: Mapping[str, Any]) -> Iterator[Trackers]:
    """The trackers of a run while it lasts; see `Trackers`. They keep what they have whatever ends it."""
    trackers = Trackers(names, name, out, parameters)
    finished = False
    try:
        yield trackers
        finished = True
    finally:
        for tracker in trackers.open.values():
            tracker.close(finished=finished)


def by_split(row: Values) -> dict[str, float]:
    """A row of `metrics.csv` under names that trackers sort by split.

    Example:
        >>> by_split({"epoch": 0, "lr": 0.1, "loss": 2.0, "train_accuracy": 0.5, "val_accuracy": 0.25})
        {'train/lr': 0.1, 'train/loss': 2.0, 'train/accuracy': 0.5, 'val/accuracy': 0.25}
    """
    named = {}
    for name, value in row.items():
        if name != "epoch":
            split, plain = ("val", name[4:]) if name.startswith("val_") else ("train", name.removeprefix("train_"))
            named[f"{split}/{plain}"] = value
    return named


def group_of(out: Path | None) -> str | None:
    """The comparison that a training belongs to, by its run directory OUT/trainings/...; None for one alone.

    Example:
        >>> group_of(Path("runs/compare-1/trainings/clean-labels/seed-0/dr_kd")), group_of(Path("runs/train-1"))
        ('compare-1', None)
    """
    parts = () if out is None else out.parts
    return parts[parts.index("trainings") - 1] if "trainings" in parts[1:] else None
