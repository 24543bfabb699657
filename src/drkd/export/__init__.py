"""From a finished run to a device: exported files, their check against the network, what they cost, and sharing.

An exported file takes pixels as they are, uint8 (B, C, H, W) from 0 to 255, and gives logits (B, K): scaling and
normalisation are part of it. The modules that only run a file do not import torch.
"""
