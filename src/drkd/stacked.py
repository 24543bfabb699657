"""Networks that differ by their weights only, as one network: their weights lie one upon the other.

The rows of a stacked batch are those of the first network, then those of the second, and so on: S * B rows.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from drkd.errors import InputError


class StackedNetwork(nn.Module):
    """S networks of one shape, each of which sees its own S-th of a batch.

    Parameters and buffers are those of the networks, stacked: (S, ...) under the networks' own names. In training mode
    batch norm takes its statistics from a network's own rows, and keeps its running ones, as it would alone. Numbers
    are those of the networks one by one to float tolerance.

    Args:
        networks: of the same architecture; they are copied and left alone.

    Attributes:
        lanes: how many networks, S.

    Called with (S * B, ...), it gives (S * B, K).

    Raises:
        InputError: for networks whose weights differ in name, shape or type.

    Example:
        >>> first, second = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> inputs = torch.randn(10, 2)
        >>> logits = StackedNetwork([first, second])(inputs)
        >>> torch.allclose(logits, torch.cat([first(inputs[:5]), second(inputs[5:])]), atol=1e-6)
        True
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if len({_shapes(network) for network in networks}) != 1:
            raise InputError("only networks of one architecture can be stacked: their weights differ in name or shape")
        self.lanes = len(networks)
        self.network = copy.deepcopy(networks[0])  # it also says how to compute: its own weights never matter
        for name, parameter in list(self.network.named_parameters()):
            weights = torch.stack([network.get_parameter(name).detach() for network in networks])
            module, own_name = _place(self.network, name)
            module._parameters[own_name] = nn.Parameter(weights, requires_grad=parameter.requires_grad)
        for name, _ in list(self.network.named_buffers()):
            module, own_name = _place(self.network, name)
            module._buffers[own_name] = torch.stack([network.get_buffer(name) for network in networks])
        self.train(networks[0].training)

    def forward(self, inputs: Tensor) -> Tensor:
        parameters, buffers = dict(self.network.named_parameters()), dict(self.network.named_buffers())
        by_lane = inputs.reshape(self.lanes, -1, *inputs.shape[1:])
        return vmap(self._one)(parameters, buffers, by_lane).flatten(0, 1)

    def _one(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.network, {**parameters, **buffers}, (inputs,))
        return logits

    @torch.no_grad()
    def copy_to(self, networks: Sequence[nn.Module]) -> None:
        """Write each network's weights back into `networks`."""
        for lane, network in enumerate(networks):
            network.load_state_dict({name: stacked[lane] for name, stacked in self.network.state_dict().items()})


def obstacle(network: nn.Module, picture: tuple[int, int, int]) -> str | None:
    """Why copies of `network` cannot be stacked, in words, or None where they can: a pass of two rows each is tried.

    Args:
        network: left as it is.
        picture: (C, H, W) of its inputs.

    Example:
        >>> obstacle(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)), (1, 4, 4))
        'the network draws random numbers, as dropout does'
        >>> obstacle(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), (1, 4, 4)) is None
        True
    """
    try:
        stacked = StackedNetwork([network, network]).train()
        stacked(torch.zeros(4, *picture, device=next(network.parameters()).device)).sum().backward()
    except Exception as reason:  # the pass runs the network's own code, which may raise anything
        first = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
        if "random" in first:
            return "the network draws random numbers, as dropout does"
        return f"the network cannot be stacked ({first})"
    return None


def _shapes(network: nn.Module) -> frozenset[tuple[str, torch.Size, torch.dtype]]:
    named = [*network.named_parameters(), *network.named_buffers()]
    return frozenset((name, tensor.shape, tensor.dtype) for name, tensor in named)


def _place(network: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds the tensor called `name`, and what the module calls it."""
    module, _, own_name = name.rpartition(".")
    return network.get_submodule(module), own_name
