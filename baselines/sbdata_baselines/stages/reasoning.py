"""Reasoning: a graph convolution that exchanges features between distant pixels.

Chen et al., "Graph-Based Global Reasoning Networks" (GloRe, CVPR 2019), section 3, used in a
classifier as by NS-ROM (Yao et al., CVPR 2021, section 3.1): pixels are projected onto the nodes of
a graph, a graph convolution mixes the nodes' states, and the same projection maps them back to the
pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

_EPS = 1e-4  # of batch norm, in the code of NS-ROM


class GlobalReasoning(nn.Module):
    """Layer that adds the features of the graph to its input.

    Args:
        channels: Number of channels of the features.
        nodes: Number of nodes of the graph.
        states: Number of values of a node.
    """

    def __init__(self, channels: int, nodes: int = 64, states: int = 128) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, states, 1)
        self.project = nn.Conv2d(channels, nodes, 1)
        self.mix = nn.Conv1d(nodes, nodes, 1)
        self.update = nn.Conv1d(states, states, 1, bias=False)
        self.extend = nn.Conv2d(states, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, eps=_EPS)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``features + norm(extend(V' B))``, where ``V' = reasoned(S B^T)``.

        ``S`` are the reduced features and ``B`` the projections of the pixels onto the nodes,
        neither of them normalised.

        Args:
            features: Features, ``(N, channels, h, w)``.
        """
        projections = self.project(features).flatten(2)
        graph = self.reduce(features).flatten(2) @ projections.transpose(1, 2)
        spread = self.reasoned(graph) @ projections
        added: Tensor = self.norm(self.extend(spread.unflatten(2, features.shape[-2:])))
        return features + added

    def reasoned(self, graph: Tensor) -> Tensor:
        """Return the states after the graph convolution, ``W2 relu(W1 V + V)``.

        ``W1`` mixes the nodes, ``W2`` the states.

        Args:
            graph: States ``V`` of the nodes, ``(N, states, nodes)``.
        """
        mixed = self.mix(graph.transpose(1, 2)).transpose(1, 2) + graph
        updated: Tensor = self.update(mixed.relu())
        return updated
