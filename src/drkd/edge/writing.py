"""A network as a file of each format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from drkd.edge.manifest import Manifest, as_properties
from drkd.edge.network import Deployed
from drkd.edge.runtimes import needed
from drkd.errors import InputError


class Format(NamedTuple):
    """How a format is written.

    Attributes:
        suffix: of its file.
        extra: of drkd, which brings what it needs; None where torch is enough.
        write: puts a network and its manifest into a file; None for formats made from ONNX.
        quantizes: whether int8 is offered.
    """

    suffix: str
    extra: str | None
    write: Callable[[Deployed, Manifest, Path], None]
    quantizes: bool


def write_onnx(deployed: Deployed, manifest: Manifest, path: Path) -> None:
    """One ONNX file: input `pixels`, output `logits`, any batch; batch norms are folded by the exporter.

    The manifest is its metadata; traces of the sources, with paths of this machine, are taken out.
    """
    needed("onnxscript", "onnx")
    onnx = needed("onnx", "onnx")
    batch = {0: torch.export.Dim("batch")}
    try:
        program = torch.onnx.export(
            deployed,
            (example(manifest),),
            dynamo=True,
            dynamic_shapes=(batch,),
            input_names=["pixels"],
            output_names=["logits"],
            verbose=False,
        )
    except Exception as reason:  # tracing runs the network's own code, which may raise anything
        raise cannot_export(manifest, reason) from reason
    assert program is not None
    model = program.model_proto
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    set_metadata(model, manifest)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def set_metadata(model: Any, manifest: Manifest) -> None:
    """Have an ONNX model say the manifest and nothing else."""
    del model.metadata_props[:]
    for name, text in as_properties(manifest).items():
        model.metadata_props.add(key=name, value=text)


def example(manifest: Manifest) -> torch.Tensor:
    """Two pictures to trace with: one could make the batch a constant."""
    size = manifest["image_size"]
    return torch.zeros(2, manifest["channels"], size, size, dtype=torch.uint8)


def cannot_export(manifest: Manifest, reason: Exception) -> InputError:
    """The error to raise for a network that cannot be traced."""
    first = " ".join(str(reason).split())[:200] or type(reason).__name__
    return InputError(f"the network {manifest['model']} cannot be exported: {type(reason).__name__}: {first}")


FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", "onnx", write_onnx, quantizes=True),
}
"""By the names that `--format` takes."""
