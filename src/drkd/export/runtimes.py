"""Exported files, each in the runtime that a device would use, all behind one call: pixels in, answers out.

Nothing here imports torch unless the file needs it.
"""

import warnings
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from drkd.export.checksums import check_files
from drkd.export.manifest import Manifest, from_properties, from_text
from drkd.export.programs import load_program
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError

if TYPE_CHECKING:
    from drkd.models.files import ModelInfo

Pixels = NDArray[np.uint8]
Logits = NDArray[np.float32]
Outputs = tuple[NDArray[Any], ...]

MANIFEST = "drkd.json"
"""The name of the manifest in formats that hold files or one text."""

METHOD, LARGEST_BATCH = "drkd", 8
"""Of ExecuTorch's files: the method that gives the manifest, and the largest batch, for which memory is planned."""


class Session(ABC):
    """A file that has been loaded. Abstract.

    Attributes:
        module: what it imports to run.
        info: what the file records about itself.
        runtime: what computes, with its version.
    """

    module: ClassVar[str]
    info: "ModelInfo | Manifest"
    runtime: str

    @abstractmethod
    def __init__(self, path: Path, threads: int | None = None) -> None: ...

    @abstractmethod
    def run(self, pixels: Pixels) -> Outputs:
        """Everything that the network answers to pixels uint8 (B, C, H, W), see `drkd.tasks.Task.outputs`."""

    def __call__(self, pixels: Pixels) -> Logits:
        """The first of it: logits (B, K) for any B, of a detector the boxes (n, 4) of one image, or masks (B, S, S)."""
        return self.run(pixels)[0]


def needed(module: str, extra: str) -> Any:
    """A module that an extra of drkd brings.

    Raises:
        InputError: that names the extra, if it is not installed.

    Example:
        >>> needed("no_such_module", "onnx")
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: this needs no_such_module, which is not installed; install drkd[onnx]
    """
    try:
        return import_module(module)
    except ImportError as reason:
        missing = reason.name or module
        raise InputError(f"this needs {missing}, which is not installed; install drkd[{extra}]") from reason


def open_session(path: Path, *, threads: int | None = None, allow_code: bool = False) -> Session:
    """Load an exported file, or the network of a run directory or its `model.safetensors`.

    Args:
        path: what to load; its ending says which runtime.
        threads: processor threads that the runtime takes; None leaves it the choice.
        allow_code: load files of `torch.export` too, which can run any code.

    Raises:
        InputError: if there is no such file, it is not the one that the record beside it describes, it is damaged or
            not drkd's, or its runtime is not installed.

    Example:
        >>> open_session(Path("model.onnx"))
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: there is no file model.onnx; give a file of `drkd export`, or a run directory

        With a file there, `open_session(path)(pixels)` are the logits (B, K) of pixels uint8 (B, C, H, W);
        `open_session(path).run(pixels)` are the boxes, labels and scores of a detector, or the masks of a segmenter.
    """
    check_arguments(open_session, locals())
    if is_exported(path) and not path.is_file():
        raise InputError(f"there is no file {path}; give a file of `drkd export`, or a run directory")
    if runs_code(path) and not allow_code:
        raise InputError(
            f"{path} can run code when it is loaded; add --allow-code if you trust its source, or use another format"
        )
    checked = check_files(path) if is_exported(path) else True
    session = session_class(path)(path, threads)
    if not checked:
        warnings.warn(
            f"{path} has neither its record {path.name}.json beside it nor a checksum of its own, so damage would "
            "go unnoticed",
            stacklevel=2,
        )
    return session


def session_class(path: Path) -> type[Session]:
    """The class that opens a file or a run directory."""
    return SESSIONS[path.suffix] if is_exported(path) else NetworkSession


def input_shape(session: Session) -> tuple[int, int, int]:
    """(C, H, W) of its images."""
    return session.info.channels, session.info.image_size, session.info.image_size


def files_of(path: Path) -> list[Path]:
    """All the files that an export consists of, `path` first.

    Example:
        >>> [file.name for file in files_of(Path("exports/model.onnx"))]
        ['model.onnx']
        >>> [file.name for file in files_of(Path("exports/model.xml"))]
        ['model.xml', 'model.bin']
    """
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def is_exported(path: Path) -> bool:
    """Whether `path` is named like an exported file, rather than a run's own network."""
    return path.suffix in SESSIONS and not path.is_dir()


def runs_code(path: Path) -> bool:
    """Whether loading `path` can run code that somebody put there: files of `torch.export` hold pickled objects."""
    return path.suffix == ".pt2" and not path.is_dir()


class OnnxSession(Session):
    """An ONNX file in ONNX Runtime, on the processor."""

    module = "onnxruntime"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        ort = needed("onnxruntime", "onnx")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as reason:  # its errors have no common base
            raise _unreadable(path, reason) from reason
        self.info = from_properties(self._session.get_modelmeta().custom_metadata_map, path)
        self.runtime = f"onnxruntime {ort.__version__}"

    def run(self, pixels: Pixels) -> Outputs:
        return tuple(self._session.run(None, {"pixels": pixels}))


class OpenvinoSession(Session):
    """OpenVINO's pair of files, on the processor, with float32 arithmetic where the file has floats."""

    module = "openvino"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        openvino = needed("openvino", "openvino")
        settings: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        try:
            model = core.read_model(path)
            self._model = core.compile_model(model, "CPU", settings)
        except RuntimeError as reason:
            raise _unreadable(path, reason) from reason
        text = model.get_rt_info(["drkd"]).value if model.has_rt_info(["drkd"]) else ""
        self.info = from_text(text, path)
        self.runtime = f"openvino {openvino.__version__.partition('-')[0]}"

    def run(self, pixels: Pixels) -> Outputs:
        return tuple(self._model([pixels]).to_tuple())


class TorchSession(Session):
    """A file of `torch.export`, in torch, on the processor. Loading one can run code, see `open_session`."""

    module = "torch"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        import torch

        try:
            program, text = load_program(path, MANIFEST)
        except Exception as reason:  # whatever reading the archive leads to
            raise _unreadable(path, reason) from reason
        self.info = from_text(text, path)
        self.runtime = f"torch {torch.__version__}"
        self._torch, self._threads, self._module = torch, threads, program.module()

    def run(self, pixels: Pixels) -> Outputs:
        torch = self._torch
        _set_threads(torch, self._threads)
        with torch.inference_mode():
            return _as_outputs(self._module(torch.from_numpy(pixels)))


class ExecutorchSession(Session):
    """An ExecuTorch file in its own runtime, on the processor; larger batches are split.

    The runtime's number of threads cannot be changed safely (1.5 may end the process), so `threads` has no effect, and
    `runtime` says the number.
    """

    module = "executorch"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        del threads
        runtime = needed("executorch.runtime", "executorch")
        import torch

        try:
            program = runtime.Runtime.get().load_program(path)
            self._forward = program.load_method("forward")
            (text,) = program.load_method(METHOD).execute([])
        except Exception as reason:  # its errors have no common base
            raise _unreadable(path, reason) from reason
        self.info = from_text(text, path)
        version = needed("executorch.version", "executorch").__version__.partition("+")[0]
        count = needed("executorch.extension.pybindings.portable_lib", "executorch")._threadpool_get_thread_count()
        self.runtime = f"executorch {version}, {count} threads"
        self._torch = torch

    def run(self, pixels: Pixels) -> Outputs:
        parts = self._torch.split(self._torch.from_numpy(pixels), LARGEST_BATCH)
        return (np.concatenate([self._forward.execute([part])[0].numpy() for part in parts]),)


class NetworkSession(Session):
    """The network of a run in torch, on the processor by default."""

    module = "torch"

    def __init__(self, path: Path, threads: int | None = None, device: str = "cpu") -> None:
        import torch

        from drkd.tasks.loading import load_deployed

        deployed, self.info = load_deployed(path)
        self._torch, self._threads, self._device = torch, threads, device
        self._deployed = deployed.to(device)
        self.runtime = f"torch {torch.__version__}"

    def run(self, pixels: Pixels) -> Outputs:
        torch = self._torch
        _set_threads(torch, self._threads)
        with torch.inference_mode():
            return _as_outputs(self._deployed(torch.from_numpy(pixels).to(self._device)))


def _as_outputs(answered: Any) -> Outputs:
    """A tensor of torch, or several, as arrays; floats in 32 bits."""
    several = answered if isinstance(answered, tuple | list) else (answered,)
    return tuple((each.float() if each.is_floating_point() else each).cpu().numpy() for each in several)


def _set_threads(torch: Any, threads: int | None) -> None:
    """Torch has one number of threads for everything in a process."""
    if threads is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _unreadable(path: Path, reason: Exception) -> InputError:
    why = " ".join(str(reason).split())[:200] or type(reason).__name__
    return InputError(f"{path} cannot be loaded: {why}; export it again")


SESSIONS: dict[str, type[Session]] = {
    ".onnx": OnnxSession,
    ".xml": OpenvinoSession,
    ".pt2": TorchSession,
    ".pte": ExecutorchSession,
}
"""Runtimes by the ending of the file."""
