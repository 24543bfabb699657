"""What a network is and how it is used, in words and code: for the card of a network that is given away."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drkd.models.files import ModelInfo


@dataclass(frozen=True)
class Use:
    """How a network is used.

    Attributes:
        pipeline: what the Hugging Face Hub calls its task.
        what: what it is; "for N classes" follows.
        images: how an image is scaled for it, a sentence.
        example: lines of Python that use `model`, a `HubModel`.
    """

    pipeline: str
    what: str
    images: str
    example: str


def of_classifier(info: "ModelInfo", *, odds: str = "softmax(dim=1).max()") -> Use:
    """Of a network that names whole images; `odds` makes of logits what is printed."""
    size, scaled = info.image_size, round(info.image_size * info.margin)
    return Use(
        pipeline="image-classification",
        what="An image classifier",
        images=f"Images are scaled until their shorter side has {scaled} pixels ({info.interpolation}, antialiased), "
        f"then the middle {size}x{size} is taken.",
        example=f"pixels = torch.zeros(1, {info.channels}, {size}, {size}, dtype=torch.uint8)"
        "  # 0 to 255; scaled inside\n"
        "logits = model(pixels)\n"
        "print(model.info.classes[logits.argmax(dim=1).item()])\n"
        f"print((logits / model.info.temperature).{odds})\n",
    )


def of_detector(info: "ModelInfo") -> Use:
    """Of a network that finds objects."""
    size = info.image_size
    return Use(
        pipeline="object-detection",
        what="An object detector",
        images=f"It takes images of any size, one at a time. They were scaled until their shorter side had {size} "
        "pixels (bilinear, antialiased); do the same.",
        example=f"pixels = torch.zeros(1, 3, {size}, {size}, dtype=torch.uint8)  # 0 to 255; scaled inside\n"
        "boxes, labels, scores = model(pixels)  # left, top, right, bottom in pixels; labels from 1 on\n"
        "for box, label, score in zip(boxes.tolist(), labels.tolist(), scores.tolist()):\n"
        "    if score >= 0.25:\n"
        "        print(model.info.classes[label - 1], score, box)\n",
    )


def of_segmenter(info: "ModelInfo") -> Use:
    """Of a network that names every pixel."""
    from drkd.tasks.segmentation.masks import PADDING

    size = info.image_size
    return Use(
        pipeline="image-segmentation",
        what="A network that names every pixel",
        images=f"Images are scaled until their longer side has {size} pixels (bilinear, antialiased) and put at the "
        f"top left of a square of {size}x{size}; the rest is filled with {PADDING}.",
        example=f"pixels = torch.zeros(1, 3, {size}, {size}, dtype=torch.uint8)  # 0 to 255; scaled inside\n"
        f"mask = model(pixels)  # uint8 (1, {size}, {size}): a class for each pixel\n"
        "print([model.info.classes[k] for k in mask.unique().tolist()])\n",
    )
