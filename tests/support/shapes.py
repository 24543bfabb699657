"""Images of coloured shapes with boxes, written as VOC or COCO folders, or with masks."""

import json

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("disc", "square")
COLOURS = {"disc": (220, 60, 40), "square": (40, 90, 220)}


def draw(seed, *, width=64, height=48, most=3):
    """A grey image with discs and squares, and their (class, x1, y1, x2, y2) with whole numbers."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), (128, 128, 128))
    pen = ImageDraw.Draw(image)
    things = []
    for _ in range(int(rng.integers(1, most + 1))):
        name = CLASSES[int(rng.integers(2))]
        side = int(rng.integers(12, 22))
        left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        box = (left, top, left + side, top + side)
        (pen.ellipse if name == "disc" else pen.rectangle)(box, fill=COLOURS[name])
        things.append((name, *box))
    return image, things


def split_seeds(train, val, test):
    seeds = iter(range(1000))
    return {name: [next(seeds) for _ in range(n)] for name, n in (("train", train), ("val", val), ("test", test)) if n}


def write_voc(root, *, train=8, val=3, test=3, lists=True):
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split, seeds in split_seeds(train, val, test).items():
        for seed in seeds:
            image, things = draw(seed)
            image.save(root / "JPEGImages" / f"{seed:03}.png")
            write_xml(root / "Annotations" / f"{seed:03}.xml", things, image.size)
        if lists:
            (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"{seed:03}\n" for seed in seeds))
    return root


def write_xml(path, things, size):
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>"
        for name, a, b, c, d in things
    )
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    path.write_text(f"<annotation>{sides}{objects}</annotation>")


def write_coco(root, *, train=8, val=3, test=3, beside=False):
    """`annotations/instances_SPLIT.json`, or with `beside` `SPLIT/_annotations.coco.json`."""
    for split, seeds in split_seeds(train, val, test).items():
        (root / split).mkdir(parents=True)
        images, annotations = [], []
        for seed in seeds:
            image, things = draw(seed)
            image.save(root / split / f"{seed:03}.png")
            images.append({"id": seed, "file_name": f"{seed:03}.png", "width": 64, "height": 48})
            for name, a, b, c, d in things:
                number = {"disc": 4, "square": 9}[name]
                annotations.append(
                    {"id": len(annotations), "image_id": seed, "category_id": number, "bbox": [a, b, c - a, d - b]}
                )
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 9, "name": "square"}, {"id": 4, "name": "disc"}],
        }
        path = root / split / "_annotations.coco.json" if beside else root / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return root


def draw_mask(seed, *, width=64, height=48, most=3):
    """The image of `draw` and its mask: 0 ground, 1 disc, 2 square, and 255 in the first row."""
    image, things = draw(seed, width=width, height=height, most=most)
    mask = Image.new("L", image.size)
    pen = ImageDraw.Draw(mask)
    for name, *box in things:
        (pen.ellipse if name == "disc" else pen.rectangle)(tuple(box), fill=1 + CLASSES.index(name))
    mask.paste(255, (0, 0, width, 1))
    return image, mask


def write_masks(root, *, train=8, val=3, test=3, names=True, **sides):
    """`SPLIT/images` and `SPLIT/masks`, and `classes.txt`."""
    for split, seeds in split_seeds(train, val, test).items():
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for seed in seeds:
            image, mask = draw_mask(seed, **sides)
            image.save(root / split / "images" / f"{seed:03}.png")
            mask.save(root / split / "masks" / f"{seed:03}.png")
    if names:
        (root / "classes.txt").write_text("ground\ndisc\nsquare\n")
    return root
