"""Whether folded teachers answer as the networks they were made from: small networks of timm's families.

    python benchmarks/folding.py

For each network, its batch-norm statistics moved away from their start: the largest difference of a logit, over the
largest logit, between the network and its frozen copy; whether the copy is folded; and the seconds that it took. One
whose copy was folded and then dropped, because it answered differently, is named.
"""

import time

import timm
import torch
from torch import nn

from drkd.targets import Frozen

NETWORKS = (
    *("resnet18", "resnet26", "resnet14t", "resnet26d", "resnest14d", "resnext26ts", "seresnet18", "skresnet18"),
    *("legacy_seresnet18", "resnet10t", "res2net50_14w_8s", "ghostnet_050", "repghostnet_050", "dla34", "dla46_c"),
    *("hrnet_w18_small", "selecsls42", "rexnet_100", "levit_128s", "repvit_m0_9", "fasternet_t0", "starnet_s1"),
    *("shvit_s1", "mobilenetv2_050", "mobilenetv3_small_050", "lcnet_050", "tinynet_e", "hardcorenas_a"),
    *("regnetx_002", "regnety_002", "cspresnet50", "darknet17", "efficientvit_b0"),
)
"""Small convolutional networks that have batch norms, of all families there."""

LARGEST_DIFFERENCE = 1e-4
"""That folding may make: rounding in single precision."""


def trained(network: nn.Module) -> nn.Module:
    """`network` with statistics, scales and shifts unlike those that it starts with."""
    for norm in network.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_mean is not None:
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    return network.eval()


def compare(name: str) -> tuple[float, bool, bool]:
    """The largest difference, whether the frozen copy was folded at first, and whether it stayed so."""
    network = trained(timm.create_model(name, num_classes=10))
    inputs = torch.randn(2, 3, *([224] * 2 if name.startswith("levit") else [64] * 2))
    target = Frozen(network)
    at_first = target.folded
    with torch.no_grad():
        expected = network(inputs)
    difference = (target.answer(inputs) - expected).abs().max() / expected.abs().max()
    return float(difference), at_first, target.folded


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    folded, wrong = 0, []
    for name in NETWORKS:
        started = time.process_time()
        difference, at_first, at_last = compare(name)
        folded += at_last
        if difference >= LARGEST_DIFFERENCE or at_first != at_last:
            wrong.append(name)
        how = "folded" if at_last else "dropped" if at_first else "as it is"
        print(f"{name:24} {difference:.1e}  {how:9} {time.process_time() - started:5.2f} s", flush=True)
    print(f"{len(NETWORKS)} networks, {folded} folded, {len(wrong)} differ: {', '.join(wrong) or 'none'}")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
