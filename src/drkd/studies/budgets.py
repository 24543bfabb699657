"""Networks under a device's budget: as exported files, before anything is trained, and the chosen one after it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from drkd.config import TuneConfig
from drkd.export.checksums import seal
from drkd.export.exporting import export_run
from drkd.export.latency import bench_files
from drkd.export.manifest import Manifest
from drkd.export.runtimes import needed
from drkd.export.writing import write_onnx
from drkd.runs.building import model_info
from drkd.studies.found import Exported, Measured
from drkd.studies.results import BASELINE
from drkd.studies.search_trainings import load_for, training_of
from drkd.tasks import get_task
from drkd.utils.errors import InputError


def of_network(config: TuneConfig, network: str) -> TuneConfig:
    """The search for one network of several."""
    return config.model_copy(update={"model": network, "networks": None})


def network_dirname(network: str) -> str:
    """A network's name as a part of a path.

    Example:
        >>> network_dirname("timm:resnet18.a1_in1k")
        'timm,resnet18.a1_in1k'
    """
    return network.replace(":", ",").replace("/", ",")


def measure_networks(config: TuneConfig, out: Path) -> list[Measured]:
    """Every network of `config` as an ONNX file with random weights, which change neither its time nor its size.

    Args:
        config: of the search.
        out: its run directory; nothing is written there.

    Raises:
        InputError: for unknown networks, one that cannot be exported, or where the extra `onnx` is missing.
    """
    for module in ("onnxscript", "onnx", "onnxruntime"):
        needed(module, "onnx")
    task = get_task(config.task)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for network in config.networks or ():
            of_one = of_network(config, network)
            info = model_info(training_of(of_one, BASELINE, out).config, load_for(of_one, out))
            file = Path(folder) / f"{network_dirname(network)}.onnx"
            write_onnx(task.deploy(task.build(info), info), Manifest.of(info, sha256="", quantize=None), file)
            seal(file)
            files.append(file)
        return _measure(config, files, config.networks or ())


def affordable(config: TuneConfig, measured: Sequence[Measured]) -> list[Measured]:
    """Those of `measured` within the budget.

    Raises:
        InputError: if there is none.
    """
    fit = [each for each in measured if each.fits(config.max_ms, config.max_mb)]
    if not fit:
        found = "; ".join(f"{each.network}: {each.ms:.3g} ms, {each.mb:.2f} MB" for each in measured)
        raise InputError(
            f"no network is within {describe_budget(config)} ({found}); add smaller ones, or raise the budget"
        )
    return fit


def describe_budget(config: TuneConfig) -> str:
    """The budget in words.

    Example:
        >>> describe_budget(TuneConfig(networks="mlp", max_ms=5, max_mb=2.5))
        '5 ms and 2.5 MB'
    """
    bounds = ((config.max_ms, "ms"), (config.max_mb, "MB"))
    return " and ".join(f"{most:g} {unit}" for most, unit in bounds if most is not None) or "no bound"


def measure_chosen(config: TuneConfig, network: str, run: Path, out: Path) -> Exported:
    """The best trained network of a search, exported, checked against the network in torch, and measured again.

    Args:
        config: of the search.
        network: by name.
        run: its run directory, in whose `exports` the file is kept.
        out: the run directory of the search.

    Raises:
        ParityError: if the file does not answer as the network does.
    """
    record = export_run(run, "onnx")
    (measured,) = _measure(config, [record.path], [network])
    fits = measured.fits(config.max_ms, config.max_mb)
    return Exported(record.path.relative_to(out).as_posix(), measured, fits, record.parity.agreement)


def _measure(config: TuneConfig, files: Sequence[Path], networks: Sequence[str]) -> list[Measured]:
    found = bench_files(files, threads=[config.latency_threads], memory=False)
    return [
        Measured(network, file.figures[0].p50_ms, file.bytes / 1e6)
        for network, file in zip(networks, found.files, strict=True)
    ]
