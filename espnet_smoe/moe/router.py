"""The router of a learned gate."""

from torch import nn


class Router(nn.Linear):
    """The logits of the experts.

    A class of its own, which no quantisation of linear layers takes: a frame's choice
    is worth more than the router's few weights.
    """
