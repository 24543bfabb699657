"""A run as a folder to share, and the folder on the Hub."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from drkd.export.card import model_card
from drkd.export.runtimes import needed
from drkd.tasks.loading import load_deployed
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError
from drkd.utils.files import cannot_write, replacing, write_json, write_text

FILES = ("README.md", "config.json", "model.safetensors")
"""What the folder consists of, and all that is sent."""


@dataclass(frozen=True)
class Shared:
    """What a push did.

    Attributes:
        folder: what was written, with its `FILES`.
        address: of the commit on the Hub; None where nothing was sent.
    """

    folder: Path
    address: str | None


def push_run(
    run: str | Path, repo: str | None = None, *, out: str | Path | None = None, send: bool = False, public: bool = False
) -> Shared:
    """Write a run as a folder that `HubModel.from_pretrained` reads, and send it to the Hub if `send` is true.

    Args:
        run: a finished run directory.
        repo: OWNER/NAME on the Hub.
        out: the folder (default: `hub` in the run).
        send: create the repository if it is missing and upload the folder; otherwise nothing leaves this machine.
        public: make a new repository public.

    Raises:
        InputError: if the run is not finished, no repository is named to send to, or huggingface_hub is missing.

    Example:
        >>> push_run("runs/mine", send=True)
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: sending needs the repository as OWNER/NAME, got None
    """
    check_arguments(push_run, locals())
    path = Path(run)
    owner, _, name = (repo or "").partition("/")
    if (send or repo is not None) and not (owner and name and "/" not in name):
        raise InputError(f"sending needs the repository as OWNER/NAME, got {repo!r}")
    if public and not send:
        raise InputError("--public has no effect without --send; leave it out, or send the folder")
    hub = needed("huggingface_hub", "hub") if send else None
    if not (path / "summary.json").is_file():
        raise InputError(f"{path} is not a finished run (no summary.json); give a run directory of `drkd train`")
    _, info = load_deployed(path)  # refuses a damaged file
    folder = Path(out) if out is not None else path / "hub"
    card = model_card(path, info, repo or "OWNER/NAME")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as reason:
        raise cannot_write(folder, reason) from reason
    with replacing(folder / "model.safetensors") as beside:
        shutil.copyfile(path / "model.safetensors", beside)
    write_json(folder / "config.json", dict(sorted(info.to_json().items())))
    write_text(folder / "README.md", card)
    if hub is None:
        return Shared(folder, None)
    api = hub.HfApi()
    api.create_repo(repo, repo_type="model", private=not public, exist_ok=True)
    sent = api.upload_folder(
        repo_id=repo,
        repo_type="model",
        folder_path=str(folder),
        allow_patterns=list(FILES),
        commit_message=f"{info.model}, trained with drkd",
    )
    return Shared(folder, str(sent))
