"""What methods are called on tables, in sentences and in plots, and their colours there."""

from collections.abc import Sequence

from drkd.methods.registry import all_methods, split_variant
from drkd.studies.results import CONTROL

CONTROL_LABEL, CONTROL_COLOUR = "Cross-entropy 2x", "#9a9a9a"
"""The baseline that trains twice as long: no method of its own, but it has its own row."""


def label_of(name: str) -> str:
    """A method as the papers write it, with the settings in its name.

    Example:
        >>> label_of("dr_kd"), label_of("dr_kd:alpha=0.5:rectify=drop")
        ('DR-KD', 'DR-KD (alpha=0.5, rectify=drop)')
        >>> label_of("cross_entropy:average=ema"), label_of("dr_kd:alpha=0.5:average=swa:0.5")
        ('Cross-entropy, averaged', 'DR-KD, averaged (alpha=0.5, swa:0.5)')
        >>> label_of("cross_entropy:average=null")
        'Cross-entropy, not averaged'
    """
    method, settings = split_variant(name)
    known = all_methods().get(method)
    label = CONTROL_LABEL if method == CONTROL else known.label if known else method
    averages = [setting.removeprefix("average=") for setting in settings if setting.startswith("average=")]
    averaged = ", not averaged" if averages == ["null"] else ", averaged" if averages else ""
    shown = [setting for setting in settings if not setting.startswith("average=")]
    shown += [average for average in averages if average not in ("ema", "null")]
    return label + averaged + (f" ({', '.join(shown)})" if shown else "")


def within(name: str) -> str:
    """The label within a sentence: a plain word is not capitalised there.

    Example:
        >>> within("cross_entropy"), within("online_dr_kd"), within("tf_kd_self")
        ('cross-entropy', 'online DR-KD', 'Tf-KD_self')
    """
    label = label_of(name)
    first = label.split(" ", 1)[0]
    return label[:1].lower() + label[1:] if first[1:] == first[1:].lower() else label


def listed(names: Sequence[str]) -> str:
    """Labels within a sentence, the last two joined by `and`.

    Example:
        >>> listed(["dr_kd", "ps_kd", "label_smoothing"])
        'DR-KD, PS-KD and label smoothing'
    """
    *others, last = [within(name) for name in names]
    return f"{', '.join(others)} and {last}" if others else last


def colour_of(name: str) -> str | None:
    """The colour of a method in every plot, chosen for colour-blind readers too; None for one with settings.

    Example:
        >>> colour_of("dr_kd"), colour_of("dr_kd:alpha=0.5")
        ('#d55e00', None)
    """
    known = all_methods().get(name)
    return CONTROL_COLOUR if name == CONTROL else known.colour if known else None
