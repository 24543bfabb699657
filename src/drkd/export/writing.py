"""A network as a file of each format."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from drkd.export.manifest import Manifest, as_properties, as_text
from drkd.export.runtimes import LARGEST_BATCH, MANIFEST, METHOD, needed
from drkd.tasks import get_task
from drkd.utils.errors import InputError

TRACED_OPSET = 18
"""Of ONNX files of detectors."""


class Format(NamedTuple):
    """How a format is written: from the network, or by way of ONNX, which is also the way to int8.

    Attributes:
        suffix: of its file.
        write: puts a network and its manifest into a file; None where it is made from ONNX only.
        convert: makes the file of an ONNX file; None where there is no such way, and no int8.
    """

    suffix: str
    write: Callable[[nn.Module, Manifest, Path], None] | None
    convert: Callable[[Path, Manifest, Path], None] | None


def write_onnx(deployed: nn.Module, manifest: Manifest, path: Path) -> None:
    """One ONNX file: input `pixels`, outputs as the task names them; batch norms are folded by the exporter.

    The manifest is its metadata; traces of the sources, with paths of this machine, are removed.
    """
    needed("onnxscript", "onnx")
    onnx = needed("onnx", "onnx")
    try:
        if get_task(manifest.task).most_images == 1:
            _trace_detector(deployed, manifest, path)
            model = onnx.load(path)
        else:
            model = _export_program(deployed, manifest)
    except Exception as reason:  # tracing runs the network's own code, which may raise anything
        raise cannot_export(manifest, reason) from reason
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    set_metadata(model, manifest)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _export_program(deployed: nn.Module, manifest: Manifest) -> Any:
    """The ONNX model by way of `torch.export`."""
    program = torch.onnx.export(
        deployed,
        (example(manifest),),
        dynamo=True,
        dynamic_shapes=(_varying(manifest),),
        input_names=["pixels"],
        output_names=list(get_task(manifest.task).outputs),
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _trace_detector(deployed: nn.Module, manifest: Manifest, path: Path) -> None:
    """An ONNX file by tracing, which all of torchvision's detectors are written for; `torch.export` takes SSDs only.

    Its warnings are about numbers that are constants by intent, and about the age of the exporter.
    """
    outputs = list(get_task(manifest.task).outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            deployed,
            (example(manifest),),
            path,
            dynamo=False,
            dynamic_axes={"pixels": get_task(manifest.task).varying, **{name: {0: "found"} for name in outputs}},
            input_names=["pixels"],
            output_names=outputs,
            opset_version=TRACED_OPSET,
        )


def _varying(manifest: Manifest) -> dict[int, Any]:
    return {dimension: torch.export.Dim(name) for dimension, name in get_task(manifest.task).varying.items()}


def write_torch(deployed: nn.Module, manifest: Manifest, path: Path) -> None:
    """One file of `torch.export`, without paths of this machine; the manifest is a file in its archive."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torchvision's, about what it calls
            program = torch.export.export(deployed, (example(manifest),), dynamic_shapes=(_varying(manifest),))
    except Exception as reason:
        raise cannot_export(manifest, reason) from reason
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path, extra_files={MANIFEST: as_text(manifest)})


def write_executorch(deployed: nn.Module, manifest: Manifest, path: Path) -> None:
    """One ExecuTorch file for XNNPACK, any batch up to `LARGEST_BATCH`; a second method, `drkd`, gives the manifest."""
    if get_task(manifest.task).most_images == 1:
        raise InputError("executorch has no suppression of overlapping boxes; export a detector as onnx or torch")
    exir = needed("executorch.exir", "executorch")
    xnnpack = needed("executorch.backends.xnnpack.partition.xnnpack_partitioner", "executorch")
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    try:
        with torch.no_grad():
            program = torch.export.export(deployed, (example(manifest),), dynamic_shapes=({0: batch},))
        lowered = exir.to_edge_transform_and_lower(
            program,
            partitioner=[xnnpack.XnnpackPartitioner()],
            constant_methods={METHOD: as_text(manifest)},
        )
        path.write_bytes(lowered.to_executorch().buffer)
    except Exception as reason:
        raise cannot_export(manifest, reason) from reason


def onnx_to_openvino(source: Path, manifest: Manifest, path: Path) -> None:
    """OpenVINO's two files, `path` (.xml) with the graph and the manifest, and the weights in .bin beside it."""
    openvino = needed("openvino", "openvino")
    model = openvino.Core().read_model(source)
    model.set_rt_info(as_text(manifest), ["drkd"])
    openvino.save_model(model, path, compress_to_fp16=False)


def onnx_as_it_is(source: Path, manifest: Manifest, path: Path) -> None:
    """The ONNX file itself, which has its manifest already."""
    del manifest
    source.replace(path)


def set_metadata(model: Any, manifest: Manifest) -> None:
    """Make the manifest the only metadata of an ONNX model."""
    del model.metadata_props[:]
    for name, text in as_properties(manifest).items():
        model.metadata_props.add(key=name, value=text)


def example(manifest: Manifest) -> torch.Tensor:
    """Two images to trace with: one could make the batch a constant; one where the network takes no more."""
    count, size = min(2, get_task(manifest.task).most_images or 2), manifest.image_size
    return torch.zeros(count, manifest.channels, size, size + size // 2 * (count == 1), dtype=torch.uint8)


def cannot_export(manifest: Manifest, reason: Exception) -> InputError:
    """The error to raise for a network that cannot be traced."""
    first = " ".join(str(reason).split())[:200] or type(reason).__name__
    return InputError(f"the network {manifest.model} cannot be exported: {type(reason).__name__}: {first}")


FORMATS = {
    "onnx": Format(".onnx", write_onnx, onnx_as_it_is),
    "openvino": Format(".xml", None, onnx_to_openvino),
    "torch": Format(".pt2", write_torch, None),
    "executorch": Format(".pte", write_executorch, None),
}
"""By the names that `--format` takes."""
