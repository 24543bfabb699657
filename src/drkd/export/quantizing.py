"""An ONNX file in 8 bits: static quantisation, its ranges measured on training images."""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np

from drkd.export.manifest import Manifest
from drkd.export.runtimes import Pixels, needed
from drkd.export.writing import set_metadata
from drkd.tasks import Task, get_task

BATCH = 32
"""Images per calibration step, at most."""

Calibration = Literal["minmax", "percentile"]
"""How a tensor's range is chosen: all values seen, or all but 0.01% at each end. ONNX Runtime's entropy, with the
histogram that it takes, chooses what minmax does."""

PREPARED = "onnx.quant.pre_process"
"""What ONNX Runtime marks files with whose batch norms are folded; the exporter has done that."""


def quantize_onnx(
    source: Path, target: Path, manifest: Manifest, pixels: Sequence[Pixels] | Pixels, calibration: Calibration
) -> None:
    """Write `source` in int8: weights per output channel, symmetric; activations per tensor.

    Normalisation and logits stay in float; of a detector or a segmenter all but the convolutions.

    Args:
        source: a file of `write_onnx`.
        target: where to.
        manifest: of the new file.
        pixels: training images, uint8 (C, H, W) each, that stand for what the device will see.
        calibration: how ranges are chosen from them.
    """
    onnx = needed("onnx", "onnx")
    quantization = needed("onnxruntime.quantization", "onnx")
    model = onnx.load(source)
    model.metadata_props.add(key=PREPARED, value="onnxruntime.quant")
    methods = quantization.CalibrationMethod
    task = get_task(manifest.task)
    size = equal_batches(len(pixels), task.most_images or min(task.batch, BATCH))
    batches = ({"pixels": np.stack(list(pixels[start : start + size]))} for start in range(0, len(pixels), size))

    reader = type("Reader", (quantization.CalibrationDataReader,), {"get_next": lambda _: next(batches, None)})
    with _quiet():
        quantization.quantize_static(
            model,
            target,
            reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=None if task.outputs == Task.outputs else ["Conv"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=methods.Percentile if calibration == "percentile" else methods.MinMax,
            extra_options={"CalibPercentile": 99.99} if calibration == "percentile" else {},
        )
    quantized = onnx.load(target)
    _free_outputs(quantized.graph)
    set_metadata(quantized, manifest)
    onnx.checker.check_model(quantized, full_check=True)
    target.write_bytes(quantized.SerializeToString())


def _free_outputs(graph: Any) -> None:
    """Leave outputs of a graph in float, where ONNX Runtime rounds them to the 256 values of what calibration saw.

    Classes with like logits would be equal, and the surest images cut off.
    """
    makers = {name: node for node in graph.node for name in node.output}
    for output in graph.output:
        back = makers[output.name]
        rounding = makers.get(back.input[0]) if back.op_type == "DequantizeLinear" else None
        if rounding is None or rounding.op_type != "QuantizeLinear":
            continue
        before = rounding.input[0]
        for node in (rounding, back):
            graph.node.remove(node)
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [output.name if name == before else name for name in names]
    used = {name for node in graph.node for name in node.input}
    for unused in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(unused)


def equal_batches(total: int, most: int) -> int:
    """The largest size up to `most` of batches that are all alike, as ONNX Runtime's percentile needs them.

    Example:
        >>> equal_batches(256, 32), equal_batches(66, 32), equal_batches(7, 4)
        (32, 22, 1)
    """
    return next(size for size in range(most, 0, -1) if total % size == 0)


def evenly(total: int, count: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """`count` of the positions 0 to total - 1, evenly spaced; all where there are no more.

    Example:
        >>> evenly(10, 4).tolist(), evenly(2, 4).tolist()
        ([0, 2, 5, 7], [0, 1])
    """
    kept = min(count, total)
    return np.arange(kept) * total // max(kept, 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the quantizer tells the root logger and prints."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
