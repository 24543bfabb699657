"""The `config.yaml` of a run: written with a last line that says what it was, read with a look at what was changed.

The last line is a comment, so that the file remains one for `--config`. It holds every option once more, and a hash of
the lines before it.
"""

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from drkd.config.fields import as_bytes
from drkd.config.options import WITHOUT_EFFECT
from drkd.config.resolving import read_options, validated
from drkd.utils.errors import InputError

Config = TypeVar("Config", bound=BaseModel)

WRITTEN = "# as drkd wrote it: "
"""How the last line begins."""

_lines: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}

MAY_BE_EDITED = (*WITHOUT_EFFECT, "data")
"""Changes of these are reported; data that were moved are known by their record. All others are refused."""


def as_yaml(config: BaseModel, source: Mapping[str, str]) -> str:
    """A configuration as YAML that `--config` reads back, with the source of each value beside it."""
    lines, options = [], dict[str, Any]()
    for name, value in config.model_dump().items():
        line, read = _line(name, value)
        lines.append(f"{line}  # {source[name]}\n")
        options |= read
    text = "".join(lines)
    return f"{text}{WRITTEN}{json.dumps({'sha256': _hash(text), 'options': options})}\n"


def _line(name: str, value: Any) -> tuple[str, dict[str, Any]]:
    """An option as YAML, and as that is read back; the trainings of a comparison have most of them in common."""
    key = name, repr(value)
    if key not in _lines:
        line = yaml.safe_dump({name: value}, default_flow_style=True, sort_keys=False, width=10**6).strip()[1:-1]
        _lines[key] = line, yaml.safe_load(line)
    return _lines[key]


def read_written(path: Path, *, needs: Iterable[str] = ()) -> dict[str, Any]:
    """The options in a run's `config.yaml`; changes that alter no result are warned of.

    Raises:
        InputError: if it cannot be read, lacks one of the options in `needs`, or other options than `MAY_BE_EDITED`
            are not what the run wrote; it names them.
    """
    options = read_options(path, needs=needs)
    lines = path.read_text(encoding="utf-8").split("\n")
    last = [line for line in lines if line.startswith(WRITTEN)]
    if not last:
        warnings.warn(
            f"{path} does not end the way drkd writes it (cut, edited, or from an older drkd), so it is not checked",
            stacklevel=2,
        )
        return options
    try:
        record = json.loads(last[-1].removeprefix(WRITTEN))
        before, digest = dict(record["options"]), str(record["sha256"])
    except (ValueError, LookupError, TypeError) as reason:
        raise InputError(
            f"{path} is damaged in the line that begins with {WRITTEN!r}: {reason}; restore it"
        ) from reason
    changed = [name for name in {**before, **options} if options.get(name, ...) != before.get(name, ...)]
    shown = ", ".join(f"{name} is {_shown(options, name)}, was {_shown(before, name)}" for name in changed)
    if set(changed) - {*MAY_BE_EDITED}:
        raise InputError(f"{path} was changed after it was written: {shown}; restore that, or give another run")
    if changed:
        warnings.warn(f"{path} was changed after it was written: {shown}", stacklevel=2)
    elif _hash("\n".join(line for line in lines if line not in last)) != digest:
        warnings.warn(f"{path} was changed after it was written, but its options are unchanged", stacklevel=2)
    return options


def read_record(kind: type[Config], file: Path) -> Config:
    """The configuration that a run wrote, as it is.

    Raises:
        InputError: as `read_written`, and if it is something else.
    """
    options = read_options(file, needs=("data", "model"))
    config = validated(kind, options, called=lambda name: f"{file}: --{name.replace('_', '-')}")
    read_written(file)
    return config


def differences(old: Mapping[str, Any], new: BaseModel) -> list[str]:
    """Options that change the result and differ between a run's `config.yaml` and `new`.

    An option that the run did not know was at its default.
    """

    def effect(name: str, value: Any) -> Any:
        """A cache of any size rounds a teacher's answers."""
        return as_bytes(str(value)) > 0 if name == "cache_size" else value

    defaults = {name: field.default for name, field in type(new).model_fields.items()}
    return [
        name
        for name, value in new.model_dump().items()
        if name not in WITHOUT_EFFECT and effect(name, old.get(name, defaults[name])) != effect(name, value)
    ]


def _hash(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()


def _shown(options: Mapping[str, Any], name: str) -> str:
    return repr(options[name]) if name in options else "missing"
