"""Command lines for fuzz.py: those of every command, with every option it has, spoiled in all ways that shells allow.

Commands, options and their limits come from the app and from the configurations of `drkd.config`, so a new option is
fuzzed as soon as it exists. Every line is made from a sound and small one, which is over in a second where it is
accepted.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

import drkd.config
from drkd import cli
from drkd.cli import catalog

SMALL = "--data digits --model mlp --limit-train 20 --limit-test 20 --epochs 1 --batch-size 10 --threads 1"
SOUND = {
    "train": f"{SMALL} --method cross_entropy",
    "compare": f"{SMALL} --methods cross_entropy,ps_kd --seeds 1 --jobs 1 --label-noise 0",
    "tune": f"{SMALL} --methods label_smoothing --trials 1 --jobs 1",
    "reproduce": "--miniature --seeds 1 --jobs 1",
    "bench": "--model mlp --image-size 8 --batch-size 4 --rounds 1 --methods cross_entropy --threads 1",
    "bench-model": "--calls 1",
    "export": "--samples 20",
}
"""What a line of a command starts from; commands that are not here need nothing."""

LONG = {"--epochs", "--seeds", "--trials", "--rounds", "--calls", "--jobs", "--devices", "--num-nodes"}
"""Options that a large number only makes take longer."""

TOO_MUCH = {("--compile", "on"), ("--launcher", "ray")}
"""Not tried: compilers and clusters take minutes, and nothing is ever sent."""

RUNS = ("run", "run/model.safetensors", "damaged/run", "damaged/run/model.safetensors", "comparison", "tuned")
PLACES = (
    *RUNS,
    *("pets", "damaged/pets", "coco", "damaged/coco", "voc", "empty", "image.png", "text.txt", "options.yaml", "pipe"),
    *("run/exports/model.onnx", "damaged/run/exports/model.onnx", "damaged/comparison", "damaged/tuned", "missing"),
    *("run/config.yaml", "run/summary.json", "run/metrics.csv", "pets/train/cat/0.png", "damaged/pets/train/cat/0.png"),
    *("comparison/trainings", ".", "", "/dev/null", "/dev/full", "text.txt/inside", "missing/inside", "x" * 300),
)
WORDS = (
    *(
        "",
        " ",
        "x",
        "None",
        "null",
        "true",
        "-",
        "--",
        "-1",
        "0",
        "1",
        "2",
        "1.5",
        "0.5",
        "nan",
        "inf",
        "-inf",
        "1e400",
    ),
    *(
        "9" * 400,
        "18446744073709551616",
        "100000",
        "2147483648",
        "9223372036854775808",
        "1e308",
        "-9223372036854775809",
        "1e-320",
        "0x10",
        "1_0",
        "１",
        "½",
        "é",
        "日本語",
        "🙂",
    ),
    *("\u202etxt", "a\u0301", "\udcff", "a\nb", "a\tb", "\x1b[31mred", "[/red]", "$x$", "{x}", "%s%n", "=cmd|", "<b>"),
    *(
        "a,b",
        ",",
        ",,",
        "1,1",
        "0,-1",
        "a:b",
        "a=b",
        "*",
        "~",
        "$(x)",
        "'",
        '"',
        "\\",
        ";",
        "&",
        "#",
        "@",
        "!x",
        "[",
        "]",
    ),
)
HUGE_YAML = (float("nan"), float("inf"), 2**70, -(10**40), 1e308, "a\0b", [], {}, [[]], {"a": {}}, [None], None, True)
BOUNDS = {Ge: (0, -1, 1), Gt: (0, 1, -1), Le: (0, 1, -1), Lt: (0, -1, 1)}
EXTRA: Mapping[str, Callable[[], list[str]]] = {
    "method": lambda: [*catalog.methods()],
    "methods": lambda: [
        *catalog.methods(),
        "dr_kd,kd",
        "dr_kd:alpha=0.5",
        "dr_kd:alpha=x",
        "dr_kd:lr=1",
        "ols:::",
        "a",
    ],
    "model": lambda: [*catalog.models(), *catalog.detectors(), "timm:resnet10t", "timm:", "timm:x"],
    "data": lambda: ["digits", "cifar10", "imagenet", "imagenet:pets", "cifar10:.", "digits:x", *PLACES],
    "what": lambda: ["methods", "models", "detectors", "datasets", "recipes", "all"],
    "name": lambda: [recipe.name for recipe in catalog.recipes()],
    "split": lambda: ["train", "val", "test"],
    "format": lambda: ["csv", "json", "onnx", "torch", "openvino", "executorch"],
    "quantize": lambda: ["int8"],
    "calibration": lambda: ["minmax", "percentile"],
    "device": lambda: ["cpu", "auto", "cuda", "cuda:9", "meta", "mps", "cpu:1"],
    "augment": lambda: ["none", "shift", "crop_flip", "imagenet", "flip"],
    "checkpoint_every": lambda: ["epoch", "1", "0.01s", "0s", "-1s", "s", "0"],
    "cache_size": lambda: ["0", "1MB", "1B", "1e9", "-1", "9" * 400 + "TB"],
    "repo": lambda: ["owner/name", "name", "a/b/c"],
    "images": lambda: ["image.png", "pets", "damaged/pets", *PLACES],
    "paths": lambda: ["run", "run/exports/model.onnx", *PLACES],
}
"""What is sound, or nearly, for options whose type does not say it."""


@dataclass
class Line:
    """A command line, and the file of options that it may name."""

    words: list[str]
    options: str | None = None


@dataclass
class Command:
    """A command as it is typed: its options and arguments by the app, and what is known of their values."""

    name: str
    parameters: list[Any]
    fields: dict[str, FieldInfo] = field(default_factory=dict)

    def values(self, parameter: Any, rng: random.Random) -> str:
        """A value for an option or an argument: sound, at its limits, of another kind, or nonsense."""
        known = self.fields.get(parameter.name)
        pools: list[list[str]] = [[str(value) for value in _of_type(known)], [*WORDS]]
        if parameter.name in EXTRA:
            pools += 2 * [EXTRA[parameter.name]()]
        elif known is None or str in _parts(known.annotation):
            pools.append([*PLACES])
        flag = parameter.opts[0]
        while True:
            value = rng.choice(rng.choice([pool for pool in pools if pool]))
            if not _too_much(flag, value):
                return value


def commands() -> list[Command]:
    """Every command of the app."""
    import typer.main

    for module in cli.COMMANDS:
        import_module(module)
    from drkd.cli.app import app

    found = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        config = getattr(drkd.config, f"{name.title()}Config", None)
        found.append(Command(name, command.params, {} if config is None else dict(config.model_fields)))
    return found


def random_line(rng: random.Random, known: list[Command]) -> Line:
    """A line of any command with none to three things changed."""
    command = rng.choice(known)
    line = Line([command.name])
    options = [parameter for parameter in command.parameters if parameter.param_type_name == "option"]
    for parameter in command.parameters:
        if parameter.param_type_name == "argument" and (parameter.required or rng.random() < 0.7):
            line.words.append(_sound_argument(parameter, rng) if rng.random() < 0.6 else command.values(parameter, rng))
    given = SOUND.get(command.name, "").split()
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3))):
        how = rng.randrange(10) if options else 8
        if how < 7:
            _give(rng.choice(options), command, given, rng)
        elif how == 7 and "config" in {option.name for option in options}:
            line.options = _options_file(command, rng)
            given += ["--config", "options.yaml"]
            for flag in rng.sample(given[:-2:2], k=min(3, len(given[:-2]) // 2)):
                _drop(flag, given) if flag not in LONG else None
        elif how == 8:
            given.insert(rng.randrange(len(given) + 1), rng.choice(("--nonsense", "-x", *WORDS)))
        else:
            given += rng.choice((["--debug"], given[:2], [rng.choice(options).opts[0]], ["--help"], ["--version"]))
    line.words += given
    if rng.random() < 0.02:
        line.words = rng.choice(([], [rng.choice(WORDS)], line.words[1:], ["--", *line.words]))
    line.words = [word for word in line.words if word != "--send"]
    return line


def _sound_argument(parameter: Any, rng: random.Random) -> str:
    if parameter.name == "name":
        return rng.choice(["dr_kd/cifar100/mobilenetv2-dr_kd", rng.choice(EXTRA["name"]())])
    return {"run": "run", "images": "image.png", "paths": "run", "data": "pets", "what": "all", "repo": "a/b"}.get(
        parameter.name, "x"
    )


def _give(parameter: Any, command: Command, given: list[str], rng: random.Random) -> None:
    """Add an option, in place of the sound value or (as some do) beside it."""
    flag = rng.choice([*parameter.opts, *parameter.secondary_opts])
    if rng.random() < 0.9:
        _drop(flag, given)
    if parameter.is_flag:
        given.append(flag)
        return
    value = command.values(parameter, rng)
    given += [f"{flag}={value}"] if rng.random() < 0.3 else [flag, value]


def _drop(flag: str, given: list[str]) -> None:
    if flag in given:
        at = given.index(flag)
        del given[at : at + (1 if flag == "--miniature" else 2)]


def _options_file(command: Command, rng: random.Random) -> str:
    """A file of options, with some of them spoiled, or cut somewhere."""
    content: dict[str, Any] = {}
    for name in rng.sample(sorted(command.fields), k=min(len(command.fields), rng.randrange(1, 5))):
        flag = f"--{name.replace('_', '-')}"
        value = rng.choice([*_of_type(command.fields[name]), rng.choice(HUGE_YAML), rng.choice(WORDS)])
        if not _too_much(flag, value):
            content[name if rng.random() < 0.9 else name + "x"] = value
    text = yaml.safe_dump(content, allow_unicode=rng.random() < 0.5)
    if rng.random() < 0.2:
        at = rng.randrange(len(text))
        text = (
            text[:at]
            + rng.choice(("", "[", "\t", "\0", "&a *a", "!!python/object:x", ": :", "\r\n", '"'))
            + text[at + 1 :]
        )
    return text


def _of_type(known: FieldInfo | None) -> Iterator[Any]:
    """The default, the choices and the limits of an option."""
    if known is None:
        return
    default = known.get_default(call_default_factory=True)
    if default is not None:
        yield ",".join(map(str, default)) if isinstance(default, list) else default
    for part in _parts(known.annotation):
        if get_origin(part) is Literal:
            yield from get_args(part)
        elif part is bool:
            yield from (True, False)
    whole = int in _parts(known.annotation)
    inner = [limit for part in _parts(known.annotation) for limit in getattr(part, "metadata", ())]
    for limit in [*known.metadata, *inner]:
        for kind, moves in BOUNDS.items():
            if isinstance(limit, kind):
                at = getattr(limit, kind.__name__.lower())
                yield from (at + move * (1 if whole else 1e-9) for move in moves)


def _parts(annotation: Any) -> list[Any]:
    """An annotation and everything inside of it."""
    return [annotation, *(inner for part in get_args(annotation) for inner in _parts(part))]


def _too_much(flag: str, value: Any) -> bool:
    try:
        return (flag, str(value)) in TOO_MUCH or (flag in LONG and float(value) > 2)
    except (TypeError, ValueError, OverflowError):
        return False
