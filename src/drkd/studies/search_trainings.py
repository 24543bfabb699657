"""The trainings of a search, planned as a comparison with one seed would plan them."""

import warnings
from dataclasses import replace
from pathlib import Path

from drkd.config import CompareConfig, TuneConfig
from drkd.runs.building import describe_weights
from drkd.runs.directory import method_dirname
from drkd.studies.comparison import plan
from drkd.studies.planned import Training
from drkd.studies.proposals import Options
from drkd.studies.results import BASELINE
from drkd.tasks import TaskData, get_task
from drkd.utils.errors import InputError


def training_of(
    config: TuneConfig,
    variant: str,
    out: Path,
    options: Options | None = None,
    *,
    name: str | None = None,
    teacher: Training | None = None,
) -> Training:
    """As a comparison with one seed would plan it.

    Args:
        config: of the search.
        variant: as `compare` takes it.
        out: the folder of the search.
        options: of the training, in place of the search's.
        name: of the training (default: the variant).
        teacher: whose network teaches a method that teaches itself.
    """
    shared = {name: value for name, value in config.model_dump().items() if name in CompareConfig.model_fields}
    only = {"methods": [variant], "label_noise": [config.label_noise], "seeds": 1}
    alone = CompareConfig.model_validate({**shared, **(options or {}), **only})
    planned = plan(alone, [BASELINE, variant], out)[-1]
    called = name or variant
    planned = replace(planned, method=called, out=planned.out.with_name(method_dirname(called)))
    if teacher is None or planned.taught_by is None:
        return planned
    return replace(planned, config=planned.config.model_copy(update={"teacher": str(teacher.out)}))


def load_for(config: TuneConfig, out: Path) -> TaskData:
    """The data as trainings of the search see it; what there is to say of them, trainings say."""
    seen, task = training_of(config, BASELINE, out).config, get_task(config.task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return task.load(seen, task.wanted(seen))


def why_refused(config: TuneConfig, method: str, out: Path, options: Options) -> str | None:
    """Why a method cannot be trained with `options`; None where it can."""
    try:
        describe_weights(training_of(config, method, out, options).config)
    except InputError as reason:
        return str(reason)
    return None
