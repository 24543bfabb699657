"""Where the trainings of a comparison or a search run: on this machine, on a Ray cluster, as jobs of Slurm."""

from collections.abc import Sequence
from pathlib import Path

from drkd.config import CompareConfig, TuneConfig
from drkd.runs.events import OnEvent
from drkd.studies.jobs import ArgumentT, Job, Outcome, Work, run_jobs
from drkd.utils.device import choose_device
from drkd.utils.machine import processor_count


def launch(
    config: CompareConfig | TuneConfig,
    jobs: Sequence[Job[ArgumentT]],
    work: Work[ArgumentT],
    *,
    out: Path,
    on_event: OnEvent,
) -> dict[str, Outcome]:
    """Do all `jobs` where `config` says, see `drkd.studies.jobs.run_jobs`.

    Args:
        config: its launcher, the number of jobs at once and the device.
        jobs: one or more.
        work: what a job does.
        out: the run directory of all, where jobs of Slurm keep what they write beside trainings.
        on_event: called with each event.
    """
    device = choose_device(config.device)
    if config.launcher == "ray":
        from drkd.studies.ray_jobs import run_jobs_on_ray

        return run_jobs_on_ray(jobs, work, on_gpus=device.type != "cpu", at_once=config.jobs, on_event=on_event)
    if config.launcher == "slurm":
        from drkd.studies.slurm_jobs import run_jobs_on_slurm

        gpu: dict[str, str | int] = {} if device.type == "cpu" else {"gpus_per_node": 1}
        asked = gpu | config.slurm_parameters
        return run_jobs_on_slurm(jobs, work, asked, out / "slurm", at_once=config.jobs, on_event=on_event)
    return run_jobs(jobs, work, processes=process_count(config, len(jobs)), on_event=on_event)


def process_count(config: CompareConfig | TuneConfig, jobs: int) -> int:
    """How many processes of this machine share `jobs` jobs."""
    usual = processor_count() if choose_device(config.device).type == "cpu" else 1
    return min(config.jobs or usual, jobs)
