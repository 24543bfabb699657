"""`suspects`: images whose labels a network contradicts that was not trained on them, or that it contradicts all along.

The run says which data, which network and which settings. Its training and validation images are divided into folds
(`drkd.data.folds`); for each fold the run's training is made once more on all the others, and its network is asked
about the images of the fold. `memory` is the cheap form: one more training on all images, that keeps what the student
said of each of them while it was trained, on average over epochs. All trainings are ordinary run directories under
`OUT/suspects`, so that an interrupted search resumes with the first unfinished one.

Images are ranked by how far the largest other logit exceeds the label's, which is what rectification would move.
docs/suspects.md compares this with other rankings.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from drkd.config import TrainConfig, as_bytes, read_record
from drkd.config.effects import has_effect
from drkd.config.fields import as_fold
from drkd.data import Data
from drkd.data.folds import fold_numbers
from drkd.data.loader import Loader
from drkd.runs.directory import one_writer
from drkd.runs.estimating import announce, estimate_trainings, with_self_teacher
from drkd.runs.evaluating import run_of
from drkd.runs.events import Event, OnEvent, RunFailed, ignore_event
from drkd.runs.features import choose_fitted, keep_features
from drkd.runs.precision import is_open, read_choice
from drkd.runs.summary import FILE as SUMMARY
from drkd.runs.summary import RunSummary
from drkd.runs.training import train
from drkd.studies.jobs import Job, run_jobs
from drkd.studies.ranking import Suspects, rank
from drkd.targets.answers import FILE as ANSWERS
from drkd.tasks import get_task
from drkd.tasks.classification import default_cache
from drkd.tasks.loading import load_model
from drkd.training.metrics import predict_logits
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import check_choice, check_count
from drkd.utils.device import choose_device
from drkd.utils.errors import InputError
from drkd.utils.files import read_tensors, write_tensors
from drkd.utils.machine import processor_count

FOLDER = "suspects"
FEATURES_LIMIT = "50GB"
"""Features of a frozen backbone are kept up to this size, where the run says no other."""

Asked = Literal["folds", "memory"]


@dataclass(frozen=True)
class Training:
    """One training whose network is asked, or which is remembered.

    Attributes:
        config: its settings.
        out: its run directory.
    """

    config: TrainConfig
    out: Path

    @property
    def name(self) -> str:
        """What events call it."""
        return self.out.name


def find_suspects(
    run: str | Path,
    *,
    asked: Asked = "folds",
    folds: int = 5,
    repeats: int = 1,
    jobs: int | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    on_event: OnEvent = ignore_event,
) -> Suspects:
    """Rank the images of a run by how confidently their labels are contradicted.

    Args:
        run: a finished run directory of one training.
        asked: `folds`, or `memory` for a single training instead of one per fold.
        folds: the number of folds.
        repeats: for `folds`: repeat with this many different splits, and average the probabilities.
        jobs: trainings at once; by default one per processor, and one on an accelerator.
        device: to train on; the run's by default.
        out: where the trainings and the list are written; the run directory by default.
        on_event: called with the events of every training (`drkd.runs.events`).

    Raises:
        InputError: for anything but a finished run of a classifier, and for data that cannot be split.
        RuntimeError: where a training diverged.

    Example:
        >>> import tempfile
        >>> from drkd.config import TrainConfig, resolve
        >>> options = {"method": "cross_entropy", "label_noise": 0.2, "limit_train": 100, "epochs": 5}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = train(*resolve(TrainConfig, options), Path(folder) / "run")
        ...     found = find_suspects(f"{folder}/run", asked="memory")
        >>> len(found.images), found.images[0].rank, found.images[0].image[:6]
        (244, 1, 'train ')
    """
    check_arguments(find_suspects, locals())
    check_choice("asked", asked, ("folds", "memory"))
    check_count("folds", folds, at_least=2)
    check_count("repeats", repeats)
    source = run_of(Path(run))
    out = source if out is None else Path(out)
    trainings = plan(source, out, asked=asked, folds=folds, repeats=repeats, device=device)
    config = trainings[0].config
    place = choose_device(config.device)
    processes = jobs or (processor_count() if place.type == "cpu" else 1)
    planned = [part for each in trainings for part in with_self_teacher(each.config, each.out)]
    with one_writer(out / FOLDER):
        announce("suspects", lambda: estimate_trainings(planned, processes=min(processes, len(trainings))), on_event)
        keep_features(config, trainings[0].out)
        outcomes = run_jobs(
            [Job(each.name, each) for each in trainings],
            train_and_ask,
            processes=min(processes, len(trainings)),
            on_event=on_event,
        )
        if failed := [each for each in outcomes.values() if isinstance(each, RunFailed)]:
            raise RuntimeError(f"no labels can be judged: {failed[0].run} failed: {failed[0].reason}")
        data = load(config.model_copy(update={"fold": None}))
        probs = gather(trainings, data)
        found = rank(data, probs, asked, out)
        found.write()
    return found


def plan(
    run: Path, out: Path, *, asked: Asked, folds: int, repeats: int = 1, device: str | None = None
) -> list[Training]:
    """The trainings that are asked: one for each fold of each repeat, or a single one.

    Raises:
        InputError: for what is no finished run of a classifier.
    """
    if not (run / SUMMARY).is_file() or not (run / "config.yaml").is_file():
        raise InputError(f"{run} holds no finished training; give the run directory of `drkd train`")
    config = read_record(TrainConfig, run / "config.yaml")
    RunSummary.read(run)
    if is_open(config):
        config = read_choice(run).applied(config)
    if config.task != "classification":
        raise InputError(f"suspect labels need classification, and {run} is a run of {config.task}")
    if config.fold is not None:
        raise InputError(f"{run} already held out the fold {config.fold}; give a run without --fold")
    if config.teacher_folds is not None:
        raise InputError(f"{run} was taught by teachers of folds; give a run without --teacher-folds")
    shared: dict[str, Any] = {
        "out": None,
        "resume": True,
        "keep_epochs": [],
        "devices": 1,
        "num_nodes": 1,
        "sync_batchnorm": False,
        **({} if device is None else {"device": device}),
        **_cache(config, run, out),
    }
    home, chosen = (
        out / FOLDER,
        {"memory": {"memory": "0/2"}}.get(asked)
        or {
            f"fold-{fold}-of-{folds}" + (f"-{draw}" if draw else ""): f"{fold}/{folds}" + (f":{draw}" if draw else "")
            for draw in range(repeats)
            for fold in range(1, folds + 1)
        },
    )
    return [
        Training(config.model_copy(update={**shared, "fold": fold, "keep_answers": asked == "memory"}), home / name)
        for name, fold in chosen.items()
    ]


def _cache(config: TrainConfig, run: Path, out: Path) -> dict[str, str | None]:
    """Features of a frozen backbone are those that the run kept, or are kept for all folds; no answers of teachers."""
    if config.freeze != "backbone" or not has_effect(config, "cache_size"):
        return {"cache": None, "cache_size": "0"}
    if as_bytes(config.cache_size):
        return {"cache": config.cache or str(default_cache(run)), "cache_size": config.cache_size}
    return {"cache": str(out / FOLDER / "features"), "cache_size": FEATURES_LIMIT}


def load(config: TrainConfig) -> Data:
    """The data of a training; it has said what there is to say of them."""
    task = get_task(config.task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return cast(Data, task.load(config, task.wanted(config)))


def train_and_ask(training: Training, on_event: OnEvent) -> RunSummary:
    """The work of one job: a training, and its network's predictions for the images that it left out."""

    def of_student(event: Event) -> None:  # a self-teacher that is trained first has another name
        if event.run == training.name:
            on_event(event)

    source = dict.fromkeys(TrainConfig.model_fields, "suspects")
    summary = train(training.config, source, training.out, name=training.name, on_event=of_student, alone=False)
    if not (training.out / ANSWERS).is_file():
        network, _ = load_model(training.out)
        network.to(choose_device(training.config.device))
        data = load(training.config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            fitted = choose_fitted(training.config, data, network, None, out=training.out)
        of_features = cast(Data, fitted.data)
        device = choose_device(training.config.device)
        loader = Loader(of_features, of_features.val, batch_size=512, training=False, device=device)
        with torch.no_grad():
            logits, _ = predict_logits(fitted.student, loader)
        write_tensors(training.out / ANSWERS, {"probabilities": logits.float().softmax(dim=1)})
    return summary


def gather(trainings: list[Training], data: Data) -> Tensor:
    """Probabilities (N, K) of the images of the training and the validation split, as the run has them.

    Rows without a judge are NaN: images that are all that a class has outside of the training that was to judge them.
    """
    labels = torch.cat([data.train.labels, data.val.labels])
    total = torch.zeros(len(labels), len(data.classes), dtype=torch.float64)
    count = torch.zeros(len(labels), 1)
    for training in trainings:
        answers = read_tensors(training.out / ANSWERS)
        probs = answers["probabilities"].double()
        fold, folds, draw, _ = as_fold(str(training.config.fold))
        rows = torch.ones(len(labels), dtype=torch.bool) if not fold else fold_numbers(data, folds, draw) == fold
        if len(probs) != int(rows.sum()):
            raise InputError(
                f"{training.out / ANSWERS} is about {len(probs)} images, and there are {int(rows.sum())}: the data has "
                "changed; choose another --out"
            )
        learned = labels if not fold else labels[~rows]
        known = torch.isin(labels[rows], learned)
        if "visits" in answers:
            known &= answers["visits"] > 0
        where = rows.nonzero().flatten()[known]
        total[where] += probs[known]
        count[where] += 1
    return (total / count).float()
