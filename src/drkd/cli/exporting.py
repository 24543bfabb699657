"""The commands that bring a network to a device, or to other people."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from drkd.cli.answers import answer
from drkd.cli.app import app
from drkd.cli.options import with_options
from drkd.cli.printing import console, say
from drkd.config import ExportConfig, resolve
from drkd.utils.errors import InputError


@app.command()
@with_options(ExportConfig)
def export(
    run: Annotated[Path, typer.Argument(help="run directory or its model.safetensors")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    **options: Any,
) -> int:
    """Export a run's network, and check its predictions.

    An export whose predictions differ from the network's is rejected.
    """
    settings, _ = resolve(ExportConfig, options)

    from drkd.export.exporting import export_run
    from drkd.tasks import get_task

    given = {
        "difference": settings.max_difference,
        "agreement": settings.min_agreement,
        "accuracy_drop": settings.max_drop,
    }
    known = {name: value for name, value in given.items() if value is not None}
    record = export_run(
        run,
        settings.format,
        quantize=settings.quantize,  # type: ignore[arg-type]  # export_run refuses what it does not know
        out=settings.out,
        data=settings.data,
        split=settings.split,
        samples=settings.samples,
        calibration=settings.calibration,  # type: ignore[arg-type]
        calibration_samples=settings.calibration_samples,
        tolerance=known,
    )
    if as_json:
        print(json.dumps({**record.to_json(), "path": str(record.path)}))
        return 0
    answer(record.path, record.to_json())
    parity, outputs = record.parity, get_task(record.manifest.task).outputs
    say(f"{record.path}: {record.bytes / 1e6:.2f} MB, {record.manifest.input} to {', '.join(outputs)}")
    print(
        f"checked on {parity.samples} images of the {record.split} split: "
        f"{parity.describe(record.manifest.temperature)}"
    )
    return 0


@app.command("bench-model")
def bench_model(
    paths: Annotated[list[Path], typer.Argument(help="exported files, or a run directory with exports")],
    threads: Annotated[str, typer.Option("--threads", help="processor threads, comma-separated")] = "1",
    batch_sizes: Annotated[str, typer.Option("--batch-sizes", help="images per call, comma-separated")] = "1",
    calls: Annotated[int, typer.Option("--calls", min=1, help="calls to measure per file")] = 100,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="also load torch.export files (.pt2), which can run any code")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> int:
    """Measure speed, size and memory of exported files.

    Each file runs in the runtime of its device.
    """
    from drkd.export.latency import bench_files

    found = bench_files(
        paths,
        threads=_numbers("--threads", threads),
        batch_sizes=_numbers("--batch-sizes", batch_sizes),
        calls=calls,
        allow_code=allow_code,
    )
    if as_json:
        print(json.dumps(found.to_json()))
        return 0

    from drkd.report.exports import describe_measurement, draw_exports, print_exports, print_speed

    print_speed(found, console())
    if len(paths) == 1 and (paths[0] / "exports").is_dir():
        print_exports(paths[0], console())
        say(f"Plot: {draw_exports(paths[0])}")
    else:
        console().print(describe_measurement(found), highlight=False, soft_wrap=True)
    return 0


def _numbers(name: str, text: str) -> list[int]:
    """A comma-separated list of whole numbers, each once."""
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as reason:
        raise InputError(f"{name} should be comma-separated whole numbers, such as 1,2, got {text!r}") from reason


@app.command()
def push(
    run: Annotated[Path, typer.Argument(help="run directory")],
    repo: Annotated[str | None, typer.Argument(help="OWNER/NAME on the Hugging Face Hub")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="folder to write (default: RUN/hub)")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run/--send", help="write and show the folder, or send it")] = True,
    public: Annotated[bool, typer.Option("--public", help="make a new repository public")] = False,
) -> int:
    """Publish a run on the Hugging Face Hub.

    Writes a folder with a model card and shows it. Nothing is sent without --send.
    """
    from drkd.export.hub import FILES, push_run

    done = push_run(run, repo, out=out, send=not dry_run, public=public)
    answer(done.folder, {"folder": str(done.folder), "address": done.address})
    for name in FILES:
        say(f"{done.folder / name}  {(done.folder / name).stat().st_size:,} bytes")
    if done.address is None:
        say(f"\n{(done.folder / 'README.md').read_text(encoding='utf-8')}")
        say(f"Nothing was sent. To send these files: drkd push {run} {repo or 'OWNER/NAME'} --send")
    else:
        say(f"Sent: {done.address}")
    return 0
