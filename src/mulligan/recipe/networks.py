"""The networks' tables: one pair for each kind, and how labels enter them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mulligan.recipe.base import Table, Width

Activation = Literal["relu", "leaky-relu", "tanh"]  # the leaky slope is 0.2
Output = Literal["sigmoid", "tanh", "linear"]
Init = Literal["he-normal", "inverse-fan-in", "glorot-uniform", "dcgan", "torch"]
Norm = Literal["none", "batch"]
Resample = Literal["nearest", "bilinear"]
ConditionKind = Literal["none", "concat", "projection"]
Pieces = Literal["whole", "channels", "quarters", "pyramid"]


class Conditioning(Table):
    """How the networks learn of an image's class; the number of classes comes from the data.

    The generator gets the class as a one-hot vector behind z. The discriminator gets it as one
    plane for each class behind the colours, or behind the pixels of an MLP ("concat"; Mirza and
    Osindero 2014, arXiv 1411.1784), or through its features ("projection"; Miyato and Koyama 2018,
    arXiv 1802.05637).

    With ``clusters`` a class is one of the parts that k-means finds (Liu et al. 2020, arXiv
    2006.10728, in a discriminator's features; here in the images themselves). Nobody who draws images
    has to know of them: they are drawn as often as the data has them.

    Divided in pieces, as product quantisation divides vectors (Jégou et al. 2011, IEEE TPAMI 33(1)), P
    times K groups tell as many kinds of images apart as K^P would. What is drawn then is what the pieces
    of one training image were told, and few images may share it, however large the groups of a piece are.
    The class, if labels are told, is one more piece.
    """

    kind: ConditionKind = "none"
    """How the networks learn of an image's class."""
    labels: bool = True
    """Whether they are told the data's labels."""
    clusters: Annotated[int, Field(ge=0, le=1000)] = 0
    """k-means parts to tell of: of each class; without labels, of the whole set; of pieces, of each (with
    labels, those of whole images are shared out among the classes)."""
    smallest: Annotated[int, Field(ge=1)] = 50
    """Images in such a part, on average, or fewer parts are made: a handful is soon learnt by heart."""
    pieces: Pieces = "whole"
    """What is divided: whole images, or each colour channel or quarter by itself, or in a pyramid whole
    images and their quarters; all are told of."""

    @model_validator(mode="after")
    def _check(self) -> Conditioning:
        if self.kind == "none" and self.clusters:
            raise ValueError("clusters are for networks that are told of them: use kind 'projection'")
        if self.kind != "none" and not self.labels and not self.clusters:
            raise ValueError("labels is false and there are no clusters to tell of: use clusters 100")
        if self.pieces != "whole" and not self.clusters:
            kind = "kind 'projection' and " if self.kind == "none" else ""
            raise ValueError(f"pieces {self.pieces!r} are divided into clusters: use {kind}clusters 100")
        return self


class _Network(Table):
    @property
    def normalised(self) -> bool:
        """Does a normalisation mix the images of a batch?"""
        norm = getattr(self, "norm", "none")
        return "batch" in (norm if isinstance(norm, list) else [norm])


class _Discriminator(_Network):
    spectral_norm: bool = False
    """Every weight divided by its largest singular value (Miyato et al. 2018, arXiv 1802.05957)."""


class _MLP(_Network):
    kind: Literal["mlp"] = "mlp"
    """Dense layers."""
    hidden: Annotated[list[Width], Field(min_length=1, max_length=16)]
    """Units of each hidden layer."""
    activation: Activation = "leaky-relu"
    """After each hidden layer; the leaky slope is 0.2."""
    norm: Norm | list[Norm] = "none"
    """One for all hidden layers, or one for each."""
    norm_eps: Annotated[float, Field(gt=0, le=10)] = 1e-5
    """Added to BatchNorm's variance."""
    init: Init = "torch"
    """How weights are drawn; torch is the layers' own default."""

    @model_validator(mode="after")
    def _check(self) -> _MLP:
        if isinstance(self.norm, list) and len(self.norm) != len(self.hidden):
            raise ValueError(f"norm lists {len(self.norm)} layers, hidden lists {len(self.hidden)}")
        return self

    @property
    def norms(self) -> list[Norm]:
        """One normalisation per hidden layer."""
        return self.norm if isinstance(self.norm, list) else [self.norm] * len(self.hidden)


class MLPGenerator(_MLP):
    """z → dense layers → pixels."""

    output: Output = "tanh"
    """The last activation; it sets the pixels' reach. linear is for points in a plane."""


class MLPDiscriminator(_Discriminator, _MLP):
    """Pixels → dense layers → logits."""


class _TutorialDCGAN(_Network):
    kind: Literal["tutorial-dcgan"] = "tutorial-dcgan"
    """The convolutional pair of the `dcgan-softmax` tutorial."""
    activation: Activation = "tanh"
    """After the dense layer of G; after every hidden layer of D."""
    init: Init = "glorot-uniform"
    """How weights are drawn."""


class TutorialDCGANGenerator(_TutorialDCGAN):
    """Dense to channels[0] feature maps, two transposed convolutions (4×4 and 2×2, stride 2) to pixels."""

    channels: Annotated[list[Width], Field(min_length=2, max_length=2)] = [128, 64]  # noqa: RUF012
    """Feature maps before and after the first transposed convolution."""
    output: Output = "sigmoid"
    """The last activation; it sets the pixels' reach."""


class TutorialDCGANDiscriminator(_Discriminator, _TutorialDCGAN):
    """Two 5×5 convolutions, each with average pooling; one dense layer; logits."""

    channels: Annotated[list[Width], Field(min_length=2, max_length=2)] = [64, 128]  # noqa: RUF012
    """Feature maps of the two convolutions."""
    dense: Width = 1024
    """Units of the dense layer."""


class _Pyramid(_Network):
    """Feature maps that are doubled in number whenever their sides are halved."""

    width: Width = 64
    """Feature maps of the largest size."""
    max_width: Width = 512
    """No more feature maps than these, however small they are."""

    @model_validator(mode="after")
    def _check_widths(self) -> _Pyramid:
        if self.max_width < self.width:
            raise ValueError(f"max_width {self.max_width} is below width {self.width}")
        return self


class _DCGAN(_Pyramid):
    kind: Literal["dcgan"] = "dcgan"
    """Strided convolutions (Radford et al. 2016, arXiv 1511.06434)."""
    norm: Norm = "batch"
    """Behind every convolution but G's last and D's first."""
    init: Init = "dcgan"
    """How weights are drawn; dcgan is normal with standard deviation 0.02."""


class DCGANGenerator(_DCGAN):
    """Dense to maps of 4 to 7 pixels; transposed 4×4 convolutions of stride 2 up to the image.

    ``width`` counts the maps at half the image's size, which the last convolution paints.
    """

    activation: Activation = "relu"
    """After each hidden layer."""
    output: Output = "tanh"
    """The last activation; it sets the pixels' reach."""


class DCGANDiscriminator(_Discriminator, _DCGAN):
    """4×4 convolutions of stride 2 down to maps of 4 to 7 pixels; logits. The first has no ``norm``."""

    activation: Activation = "leaky-relu"
    """After each hidden layer; the leaky slope is 0.2."""


class _ResNet(_Pyramid):
    """Sides are halved down to 4 to 7 pixels, with ``blocks`` residual blocks at every size on the way.

    ``init`` draws all but the two ends of a block: its last convolution starts at zero, its skip
    at variance 1 / fan-in.
    """

    kind: Literal["resnet"] = "resnet"
    """Residual blocks (Mescheder et al. 2018; R3GAN, Huang et al. 2024, arXiv 2501.05441)."""
    blocks: Annotated[int, Field(ge=1, le=16)] = 1
    """Residual blocks at each size."""
    norm: Norm = "none"
    """Before each activation."""
    activation: Activation = "leaky-relu"
    """Before each convolution; the leaky slope is 0.2."""
    resample: Resample = "nearest"
    """How sides are doubled and halved."""
    init: Init = "he-normal"
    """How weights are drawn, but for the two ends of a block."""


class ResNetGenerator(_ResNet):
    """Dense to the smallest maps; residual blocks, doubling sides, up to the image."""

    output: Output = "tanh"
    """The last activation; it sets the pixels' reach."""


class ResNetDiscriminator(_Discriminator, _ResNet):
    """Residual blocks, halving sides, down to the smallest maps; logits."""


GeneratorTable = Annotated[
    MLPGenerator | TutorialDCGANGenerator | DCGANGenerator | ResNetGenerator, Field(discriminator="kind")
]
DiscriminatorTable = Annotated[
    MLPDiscriminator | TutorialDCGANDiscriminator | DCGANDiscriminator | ResNetDiscriminator,
    Field(discriminator="kind"),
]
