"""What `--augment` takes, and what it says of the rest."""

import pytest

from drkd.data.augment import AUGMENTATIONS, Augmentation
from drkd.data.augment_names import parse_augmentation
from drkd.utils.errors import InputError


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_name_alone_is_what_it_was(name):
    assert parse_augmentation(name) == AUGMENTATIONS[name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trivial", Augmentation(policy="trivial")),
        ("randaugment", Augmentation(policy="randaugment", operations=2, magnitude=9)),
        ("randaugment:3,15", Augmentation(policy="randaugment", operations=3, magnitude=15)),
        ("resized_crop:0.35+flip", Augmentation(resized_crop=True, smallest_area=0.35, flip=True)),
        ("jitter", Augmentation(jitter=(0.4, 0.4, 0.4, 0.0))),
        ("jitter:0.1,0.2,0.3,0.05", Augmentation(jitter=(0.1, 0.2, 0.3, 0.05))),
        ("erasing:0.25+cifar", Augmentation(pad=4, flip=True, degrees=15.0, erasing=0.25)),
        (
            "imagenet + trivial + jitter:0.2 + erasing",
            Augmentation(resized_crop=True, flip=True, policy="trivial", jitter=(0.2, 0.2, 0.2, 0.0), erasing=0.5),
        ),
    ],
)
def test_parts_are_joined(text, expected):
    assert parse_augmentation(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trivail", r"unknown augmentation 'trivail'; did you mean trivial\?"),
        ("cifar+randaugmnt", r"unknown augmentation 'randaugmnt'; did you mean randaugment\?"),
        ("mosaic", "unknown augmentation 'mosaic'; choose from none, shift,.* and add flip, .* with +"),
        ("", "unknown augmentation ''"),
        ("cifar+", "unknown augmentation ''"),
        ("cifar:3", "cifar takes no numbers, got 'cifar:3'"),
        ("flip:0.5", "flip takes no numbers, got 'flip:0.5'"),
        ("trivial+randaugment", "two parts set policy; leave one of them out"),
        ("cifar+imagenet", "two parts set flip"),
        ("none+trivial", "none cannot be joined"),
        ("randaugment:2", "randaugment:N,M with 1 to 14 operations.*got 'randaugment:2'"),
        ("randaugment:2,31", "magnitude 0 to 30"),
        ("randaugment:1.5,9", "randaugment:N,M"),
        ("randaugment:nan,inf", "randaugment:N,M"),
        ("erasing:0", "a probability above 0"),
        ("erasing:often", "got 'erasing:often'"),
        ("jitter:0.1,0.2", "jitter:X or jitter:B,C,S,H"),
        ("jitter:0,0,0,0.6", "the hue's up to 0.5"),
        ("resized_crop:1.5", "resized_crop:AREA"),
    ],
)
def test_other_text_is_one_clear_error(text, message):
    with pytest.raises(InputError, match=message):
        parse_augmentation(text)
