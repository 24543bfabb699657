"""What a frozen backbone makes of images that are not augmented: asked once, then its classifier is trained alone."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from drkd.data.augment import Augmentation
from drkd.data.datasets import Data, Split
from drkd.data.loader import Loader
from drkd.models.parts import classifier_of
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError
from drkd.utils.hashing import content_hash
from drkd.utils.progress import tracked

BATCH = 64
"""Images at a time."""


def extract_features(network: nn.Module, data: Data) -> tuple[nn.Linear, Data]:
    """The classifier of a network, and `data` as it sees them: to train it alone, in seconds.

    If only the classifier learns, training it on these features is the same training, up to float32 rounding. The
    classifier is part of `network`, so the network learns with it.

    Args:
        network: ends in a linear layer; it runs in eval mode, on its own device.
        data: images that are not augmented, or tensors.

    Returns:
        The linear layer (F, K), and data with the same labels whose inputs are float32 features (N, F).

    Raises:
        InputError: for augmented data, and for a network whose logits do not come from its last linear layer.

    Example:
        >>> import drkd
        >>> data = drkd.load_data("digits", augment="none", limit_train=100)
        >>> network = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        >>> classifier, features = extract_features(network, data)
        >>> features.train.inputs.shape
        torch.Size([100, 128])
        >>> result = drkd.fit(classifier, drkd.cross_entropy(), features, epochs=2)
    """
    check_arguments(extract_features, locals())
    if data.augmentation != Augmentation():
        raise InputError('features need images without augmentation; load them with augment="none"')
    _, head = classifier_of(network)
    features = {name: features_of(network, data, name) for name in ("train", "val", "test")}
    return head, with_features(data, features, backbone_hash(network))


def with_features(data: Data, features: dict[str, Tensor], backbone: str) -> Data:
    """`data` with features (N, F) in place of its images, by split; `backbone` is the hash of what made them.

    It is a part of the record: a training does not resume on the features of another network.
    """
    splits = {name: replace(getattr(data, name), inputs=inputs) for name, inputs in features.items()}
    record = data.record and replace(data.record, rows=f"{data.record.rows} as {backbone} sees them")
    return replace(data, **splits, mean=(0.0,), std=(1.0,), margin=1.0, record=record)


def backbone_hash(network: nn.Module) -> str:
    """The identity of all that comes before the classifier."""
    prefix, _ = classifier_of(network)
    state = network.state_dict()
    return content_hash({name: state[name] for name in state if not name.startswith(f"{prefix}.")})


@torch.no_grad()
def features_of(network: nn.Module, data: Data, name: str) -> Tensor:
    """What the classifier of `network` is given for each sample of a split: float32 (N, F), on the CPU."""
    split: Split = getattr(data, name)
    device = next(network.parameters()).device
    loader = Loader(data, split, batch_size=BATCH, training=False, device=device)
    _, head = classifier_of(network)
    features = torch.zeros(len(split), head.in_features)
    given: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    was_training = network.training
    network.eval()
    try:
        for batch in tracked(loader.batches(), f"features of the {name} split", len(loader)):
            given.clear()
            logits = network(batch.inputs)
            if not _is_last(head, given, logits):
                raise InputError(
                    f"the logits of {type(network).__name__} do not come from its last linear layer, so that layer "
                    "cannot be trained alone; choose --freeze with a number of blocks"
                )
            features[batch.index.cpu()] = given[0].float().cpu()
    finally:
        hook.remove()
        network.train(was_training)
    return features


def _is_last(head: nn.Linear, given: list[Tensor], logits: Tensor) -> bool:
    """Whether the network called its classifier once, on a row per sample, and answered just what that gave."""
    if len(given) != 1 or given[0].dim() != 2:
        return False
    alone = nn.functional.linear(given[0], head.weight, head.bias)
    return alone.shape == logits.shape and torch.allclose(alone, logits, rtol=1e-4, atol=1e-4)
