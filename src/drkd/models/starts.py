"""Where a network starts from: pretrained weights of timm, a file, a run, a repository; and how they want images."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drkd.data.preprocessing import Preprocessing
from drkd.models.files import INTERPOLATIONS, ModelInfo, model_file, refuse_comparison, untagged
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError
from drkd.utils.files import read_about

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

HUB = ("hf_hub:", "hf-hub:")
"""How a repository of the Hugging Face Hub is named, as in timm."""

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of weights in a repository, in order of preference."""


@dataclass(frozen=True)
class Start:
    """Weights to start from.

    Attributes:
        source: as they were named, for messages.
        file: where they are on this machine.
        preprocessing: how their network wants its images; None where nothing says it.
        says: what says so.
        config: timm's own description of them, where timm is to load them.
    """

    source: str
    file: Path
    preprocessing: Preprocessing | None
    says: str
    config: "PretrainedCfg | None" = None


def find_start(
    model: str, *, weights: str | Path | None = None, pretrained: bool = False, download: bool = False
) -> Start | None:
    """Where `model` starts from; None for random weights.

    Args:
        model: a network's name; a tag of timm says which of its pretrained weights are meant.
        weights: a file, a run directory, or `hf_hub:OWNER/NAME`.
        pretrained: timm's own weights of that name.
        download: download what is missing on this machine.

    Raises:
        InputError: if they are not there, or the options contradict each other.
    """
    check_arguments(find_start, locals())
    timm = model.startswith("timm:")
    if pretrained and weights is not None:
        raise InputError("--pretrained and --weights both set the initial weights; use one of them")
    if pretrained and not timm:
        raise InputError(f"--pretrained is for timm networks, got {model}; choose timm:NAME, or give --weights FILE")
    if pretrained:
        name = model.removeprefix("timm:")
        config = _config_of_timm(name)
        if config is None or not config.has_weights:
            raise InputError(f"timm has no pretrained weights for {name}; leave --pretrained out, or choose another")
        file = _file_of_timm(config, download)
        called = _called(config)
        return Start(called, file, _of_timm(config), f"{called} says so", config)
    if weights is None:
        if untagged(model) != model:
            raise InputError(
                f"{model} names pretrained weights by its tag, but the weights would be random; add --pretrained, or "
                f"choose {untagged(model)}"
            )
        return None
    source = str(weights)
    repository = next((source.removeprefix(prefix) for prefix in HUB if source.startswith(prefix)), None)
    if repository is None:
        refuse_comparison(source)
        file, beside = _file_in(Path(source)), Path(source) / "config.json"
    else:
        file = hub_file(repository, HUB_FILES, download=download)
        beside = file.parent / "config.json"
        if not beside.is_file() and download:
            beside = hub_file(repository, ("config.json",), download=True)
    preprocessing, says = _said_of(file, beside)
    if preprocessing is None and timm:
        config = _config_of_timm(model.removeprefix("timm:"))
        if config is not None:
            preprocessing, says = _of_timm(config), f"{source} does not describe it; {_called(config)} does"
    return Start(source, file, preprocessing, says)


def find_published(
    name: str, published: Mapping[str, str], *, weights: str | Path | None, pretrained: bool, download: bool
) -> Start | None:
    """Where a network of torchvision starts from; None for random weights.

    Args:
        name: of the network.
        published: names of torchvision's weights, by network.
        weights: a file, a run directory, or `hf_hub:OWNER/NAME`.
        pretrained: its published weights.
        download: fetch what is not on this machine.

    Raises:
        InputError: if they are not there, or the options contradict each other.
    """
    if pretrained and weights is not None:
        raise InputError("--pretrained and --weights both set the initial weights; use one of them")
    if not pretrained:
        return find_start(name, weights=weights, download=download)
    if name not in published:
        raise InputError(f"there are no published weights of {name}; leave --pretrained out, or give --weights FILE")
    from torchvision.models import get_weight

    address = get_weight(published[name]).url
    file = torch_file(address, address.rpartition("/")[2], download=download)
    return Start(f"torchvision's {published[name]}", file, None, "")


def describe_preprocessing(start: Start, used: Preprocessing) -> str:
    """A sentence about how images are brought to the network, and who says so."""
    statistics = ", ".join(
        f"{name} ({', '.join(f'{value:.4g}' for value in values)})"
        for name, values in (("mean", used.mean), ("deviation", used.std))
        if values is not None
    )
    return (
        f"images are scaled to {used.image_size} pixels ({used.interpolation}, margin {used.margin or 1:.4g}), "
        f"{statistics}, as the weights expect ({start.says})"
    )


def _file_in(path: Path) -> Path:
    """The weights in a folder, or the file itself."""
    if path.is_dir() and not model_file(path).is_file():
        return next((path / name for name in HUB_FILES if (path / name).is_file()), model_file(path))
    return model_file(path)


def _said_of(file: Path, beside: Path) -> tuple[Preprocessing | None, str]:
    """The preprocessing that a file of drkd, or a configuration of timm beside it, records."""
    about = read_about(file) if file.is_file() else {}
    if "model" in about:
        return ModelInfo.from_json(about, file).preprocessing, f"{file} says so"
    if file.parent == beside.parent and beside.is_file():
        try:
            content = json.loads(beside.read_text(encoding="utf-8"))
            config: dict[str, Any] = content.get("pretrained_cfg") or {}
            if {"mean", "std"} <= set(config):
                size = config.get("input_size", (None,))[-1]
                values = (config.get("crop_pct", 1.0), config.get("interpolation", "bicubic"))
                return _preprocessing(size, config["mean"], config["std"], *values), f"{beside} says so"
        except (OSError, ValueError, AttributeError, TypeError) as reason:
            raise InputError(f"{beside} does not say how to preprocess images: {reason}; restore it") from reason
    return None, ""


def known_to_timm(name: str) -> str:
    """The architecture in a name of timm.

    Raises:
        InputError: if timm has no such network, or no such pretrained weights for it.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=1)
        hint = f"; did you mean timm:{close[0]}?" if close else ""
        raise InputError(f"timm has no network {architecture!r}{hint}")
    known = [each.partition(".")[2] for each in timm.models.get_arch_pretrained_cfgs(architecture)]
    if tag and tag not in known:
        raise InputError(f"timm has no weights {tag!r} for {architecture}; it has {', '.join(known) or 'none'}")
    return architecture


def _config_of_timm(name: str) -> "PretrainedCfg | None":
    """timm's record of the weights that a name stands for; without a tag, of those that it takes first."""
    from timm.models import get_pretrained_cfg

    known_to_timm(name)
    config: PretrainedCfg | None = get_pretrained_cfg(name)
    return config


def _called(config: "PretrainedCfg") -> str:
    return f"timm's {config.architecture}" + (f".{config.tag}" if config.tag else "")


def _of_timm(config: "PretrainedCfg") -> Preprocessing:
    return _preprocessing(config.input_size[-1], config.mean, config.std, config.crop_pct, config.interpolation)


def _preprocessing(
    size: int | None, mean: Sequence[float], std: Sequence[float], crop: float, interpolation: str
) -> Preprocessing:
    """timm's words in ours: it says which fraction of the scaled image is cropped."""
    mean, std = (tuple(map(float, values)) for values in (mean, std))
    kind = interpolation if interpolation in INTERPOLATIONS else "bicubic"
    return Preprocessing(size, mean, std, 1 / float(crop), kind)


def _file_of_timm(config: "PretrainedCfg", download: bool) -> Path:
    """The file of pretrained weights: in the cache of the Hub, or in that of torch where timm has an address."""
    import torch

    cached = None
    if config.url:
        address, name = config.url if isinstance(config.url, tuple) else (config.url, config.url.rpartition("/")[2])
        cached = Path(torch.hub.get_dir()) / "checkpoints" / name
        if cached.is_file() and not (config.hf_hub_id and _cached(config.hf_hub_id, HUB_FILES)):
            return cached
    if config.hf_hub_id:
        names = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
        return hub_file(config.hf_hub_id, names, download=download)
    assert cached is not None  # the configuration has weights
    return torch_file(address, name, download=download)


def torch_file(address: str, name: str, *, download: bool) -> Path:
    """A file of weights in the cache of torch.

    Args:
        address: where it is published.
        name: of the file in the cache.
        download: fetch it where it is not there.

    Raises:
        InputError: if it is not there, or cannot be fetched.
    """
    import torch

    cached = Path(torch.hub.get_dir()) / "checkpoints" / name
    if cached.is_file():
        return cached
    if download:
        cached.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(cached), progress=False)
        except OSError as reason:
            raise InputError(f"cannot fetch {address}: {reason}; put the file at {cached}") from reason
        return cached
    raise InputError(
        f"the weights are not on this machine: expected {cached}; run again with --download with network access, "
        f"or put {address} there"
    )


def hub_file(repository: str, names: Sequence[str], *, download: bool) -> Path:
    """A file of a repository on the Hugging Face Hub, from the cache on this machine.

    Args:
        repository: OWNER/NAME, with @REVISION for another than the newest.
        names: the first one that is there is taken.
        download: fetch it where it is not in the cache.

    Raises:
        InputError: if it is not there.
    """
    from huggingface_hub import constants, get_session, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = repository.partition("@")
    try:
        if (found := _cached(repository, names)) is not None:
            return found
        why = "--download was not given"
        if download:  # at once, where hf_hub_download would try five times more and print each
            get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        for each in names if download else ():
            try:
                return Path(hf_hub_download(name, each, revision=revision or None))
            except EntryNotFoundError as reason:
                why = str(reason).splitlines()[0]
                if isinstance(reason, LocalEntryNotFoundError):
                    break
    except HFValidationError as reason:
        raise InputError(f"a repository is OWNER/NAME, got {repository!r}: {reason}") from reason
    except Exception as reason:  # a server's answers and a network's faults have no common base
        why = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
    folder = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    raise InputError(
        f"{repository} of the Hugging Face Hub is not on this machine ({why}): expected "
        f"{folder}/snapshots/{revision or 'REVISION'}/{names[0]}; run again with --download with network access, "
        "copy that folder from a machine that has it, or give --weights FILE"
    )


def _cached(repository: str, names: Sequence[str]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = repository.partition("@")
    found = (try_to_load_from_cache(name, each, revision=revision or None) for each in names)
    return next((Path(each) for each in found if isinstance(each, str)), None)
