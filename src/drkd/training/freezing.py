"""Which parts of a network learn, epoch by epoch: all, all but the first blocks, or the classifier alone.

What does not learn gets no gradient and no weight decay, and is in eval mode: its norms use their running statistics
and leave them alone, its dropout drops nothing.
"""

from torch import nn

from drkd.config import FitSettings
from drkd.models.parts import blocks_of, classifier_of
from drkd.utils.errors import InputError


class Freezing:
    """Puts a student's parts into the modes that `settings` ask for. Parameters without gradient stay so.

    Args:
        student: what is trained; parts that never learn are frozen at once.
        settings: of the training.
        backbone: what `--freeze backbone` keeps as it is, and `--head-epochs` for so long; None keeps all but the
            classifier.

    Raises:
        InputError: for a network that has no such parts, and where nothing but the classifier would ever learn.
    """

    def __init__(self, student: nn.Module, settings: FitSettings, backbone: nn.Module | None = None) -> None:
        check_head_epochs(settings)
        self.student, self.backbone = student, [] if backbone is None else list(backbone.parameters())
        self.wanted = [parameter for parameter in student.parameters() if parameter.requires_grad]
        head_alone = settings.freeze == "backbone" and backbone is None
        self.head_epochs = settings.epochs if head_alone else settings.head_epochs
        self.head = classifier_of(student)[1] if self.head_epochs and backbone is None else None
        self.kept: list[nn.Parameter] = []
        if isinstance(settings.freeze, int):
            self.kept = _first_blocks(student, settings.freeze, backbone)
        elif settings.freeze == "backbone" and backbone is not None:
            self.kept = self.backbone
        elif settings.freeze == "backbone":
            of_head = {id(parameter) for parameter in self._head_parameters}
            self.kept = [parameter for parameter in student.parameters() if id(parameter) not in of_head]
        for parameter in self.kept:
            parameter.requires_grad_(False)
        self.learning = [parameter for parameter in self.wanted if parameter.requires_grad]

    def begin(self, epoch: int) -> bool:
        """Make the student ready for the steps of `epoch`; whether other parameters learn than before."""
        alone = epoch < self.head_epochs
        if not self.head_epochs and not self.kept:
            self.student.train()
            return False
        before = [parameter.requires_grad for parameter in self.learning]
        if self.head is not None and alone:
            self.student.eval()
            self.head.train()
            learning = {id(parameter) for parameter in self._head_parameters}
            for parameter in self.learning:
                parameter.requires_grad_(id(parameter) in learning)
        else:
            self.student.train()
            kept = {id(parameter) for parameter in [*self.kept, *(self.backbone if alone else ())]}
            for part in self._parts_of(kept):
                part.eval()
            for parameter in self.learning:
                parameter.requires_grad_(id(parameter) not in kept)
        return before != [parameter.requires_grad for parameter in self.learning]

    def release(self) -> None:
        """Let all parameters want a gradient that did before."""
        for parameter in self.wanted:
            parameter.requires_grad_(True)

    @property
    def _head_parameters(self) -> list[nn.Parameter]:
        return [] if self.head is None else list(self.head.parameters())

    def _parts_of(self, kept: set[int]) -> list[nn.Module]:
        """The modules all of whose parameters are kept, by their id; one without any goes with the one before it."""
        parts, previous = [], True
        for part in self.student.modules():
            parameters = [id(parameter) for parameter in part.parameters()]
            is_kept = kept.issuperset(parameters) if parameters else previous
            if not list(part.children()):
                previous = is_kept
            if is_kept and (parameters or not list(part.children())):
                parts.append(part)
        return parts


def check_head_epochs(settings: FitSettings) -> None:
    """Refuse epochs of the classifier alone after which nothing else would learn.

    Raises:
        InputError: that says what to choose.
    """
    if settings.freeze != "backbone" and settings.head_epochs >= settings.epochs:
        raise InputError(
            f"--head-epochs {settings.head_epochs} leaves none of the {settings.epochs} epochs for the other layers; "
            "choose fewer, or --freeze backbone"
        )


def _first_blocks(student: nn.Module, count: int, backbone: nn.Module | None) -> list[nn.Parameter]:
    blocks = blocks_of(student, backbone)
    if count >= len(blocks):
        raise InputError(
            f"--freeze {count} leaves nothing to train: {type(student).__name__} has {len(blocks)} blocks with its "
            f"classifier; choose 1 to {len(blocks) - 1}, or backbone"
        )
    kept = {name for block in blocks[:count] for name in block}
    return [parameter for name, parameter in student.named_parameters() if name in kept]
