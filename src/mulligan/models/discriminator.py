"""What all discriminators share: a body, a head, and the one place where labels enter."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import embedding

from mulligan.models.layers import append_labels
from mulligan.recipe import ConditionKind


class Discriminator(nn.Module):
    """D(x, y) = head(φ(x, y)): images ``[B, C, H, W]`` → features φ ``[B, F]`` → logits ``[B, heads]``.

    y is one label for each image, ``[B]``, or several, ``[B, L]``.

    Under "concat" the body sees y as one-hot planes behind the image's channels (Mirza and Osindero
    2014, arXiv 1411.1784). Under "projection" it does not, and the logit is head(φ(x)) + ⟨e(y), φ(x)⟩
    (Miyato and Koyama 2018, arXiv 1802.05637).

    Args:
        body: Gives the features; made for C + ``label_planes(classes, conditioning)`` channels.
        features: F.
        heads: Logits per image; 1 under "projection".
        classes: K; 0 for a discriminator that knows of none.
        conditioning: How labels enter.
    """

    def __init__(
        self, body: nn.Module, features: int, heads: int, classes: int, conditioning: ConditionKind
    ) -> None:
        super().__init__()
        self.planes = label_planes(classes, conditioning)
        self.body = body
        self.head = nn.Linear(features, heads)
        self.class_head: nn.Linear | None = None
        if conditioning == "projection":
            assert heads == 1, "a projection adds to one logit"
            # Its row y is e(y). A dense layer, so that it is initialised and constrained as the head is.
            self.class_head = nn.Linear(features, classes, bias=False)

    def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return φ ``[B, F]``."""
        phi: Tensor = self.body(append_labels(x, y, self.planes))
        return phi

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Judge each image."""
        phi = self.features(x, y)
        logits: Tensor = self.head(phi)
        if self.class_head is None:
            return logits
        assert y is not None, "a discriminator that was built for labels needs them"
        # Of the asked class alone: among hundreds of groups, the product with every row is most of the work
        told = embedding(y.flatten(), self.class_head.weight)
        if y.dim() > 1:  # several labels for each image: ⟨e(y₁) + e(y₂) + …, φ(x)⟩
            told = told.view(*y.shape, -1).sum(1)
        return logits + (phi * told).sum(1, keepdim=True)


def label_planes(classes: int, conditioning: ConditionKind) -> int:
    """Return how many channels labels add to what a discriminator's body sees."""
    return classes if conditioning == "concat" else 0
