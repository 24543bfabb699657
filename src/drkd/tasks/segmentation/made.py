"""The embedded made images with their masks, as splits."""

import torch
from torchvision.transforms.v2.functional import pil_to_tensor

from drkd.data.shapes import CLASSES, draw_splits
from drkd.tasks.segmentation.masks import Pair
from drkd.tasks.segmentation.reading import Listed
from drkd.tasks.segmentation.splits import SegmentationSplit


def read_shapes(size: int) -> tuple[Listed, dict[str, SegmentationSplit]]:
    """What `drkd.data.shapes` draws at this size.

    Example:
        >>> listed, splits = read_shapes(16)
        >>> listed.classes[:2], len(splits["train"]), splits["test"][0][1].shape
        (('ground', 'disc'), 240, torch.Size([16, 16]))
    """
    splits: dict[str, SegmentationSplit] = {}
    drawn = list(draw_splits(size))
    for name in dict.fromkeys(split for split, _, _ in drawn):
        part = [(file, one) for split, file, one in drawn if split == name]
        images = torch.stack([pil_to_tensor(one.image) for _, one in part])
        masks = torch.stack([pil_to_tensor(one.mask)[0] for _, one in part])
        pairs = [Pair(file, file, file.name) for file, _ in part]
        splits[name] = SegmentationSplit(pairs, size, (images, masks))
    return Listed(CLASSES, {}, {}), splits
