"""Why each thing happens, in words for whoever trains."""

from __future__ import annotations

from mulligan.doctor.diagnosis import Kind

CAUSES: dict[Kind, str] = {
    "non-finite": "A number has become infinite or undefined, and everything computed from it is lost.",
    "wrong-pixel-range": (
        "The real images fill another part of the pixel range than the generator paints in, so that the "
        "discriminator need only look at how bright an image is."
    ),
    "exploding-gradient": (
        "Nothing bounds the discriminator: it lowers its loss by growing its weights instead of by telling "
        "images apart, and the gradients grow with them."
    ),
    "learning-rate-too-high": (
        "Each update changes the weights by a large share of themselves, so that what was learnt before is "
        "thrown away again."
    ),
    "learning-rate-too-low": "Each update changes the weights so little that hardly anything is learnt.",
    "saturated-units": (
        "Most of these units sit at the flat ends of their curve, where its slope is nearly 0: neither what "
        "comes in nor what is to be learnt passes through them."
    ),
    "dead-units": (
        "Many rectified units answer 0 to every image. Their slope is 0 as well, so that they cannot "
        "recover, and the network is smaller than it looks."
    ),
    "batchnorm-leak": (
        "BatchNorm divides by the deviation of a batch. In a batch of few images each depends on its "
        "neighbours: the networks learn the batch instead of the image."
    ),
    "penalty-too-strong": (
        "The penalty keeps the discriminator so flat that it cannot tell reals from fakes that plainly "
        "differ, and the generator learns nothing from it."
    ),
    "penalty-too-weak": (
        "The penalty does not hold the discriminator back: it tells reals and fakes apart for sure, and its "
        "slope says little of where better images lie."
    ),
    "vanishing-generator-gradient": (
        "The discriminator is sure that fakes are fake, and where it is sure, this generator's loss is flat: "
        "there is no slope left to follow."
    ),
    "discriminator-overpowers": (
        "The discriminator learns faster than the generator and tells every fake from every real, so that "
        "the generator hears that it is wrong but not in which direction to go."
    ),
    "latent-ignored": "Other latents give the same image: the generator has stopped reading z.",
    "mode-collapse": (
        "The generator paints a few images that the discriminator believes at the moment, and nothing tells "
        "it that they are all alike."
    ),
    "missing-classes": (
        "Some kinds of image are hardly ever painted. The discriminator judges images one by one and does "
        "not miss what never comes."
    ),
    "memorising": (
        "There are so few training images that the discriminator knows them by heart, and fakes that come "
        "near one of them win."
    ),
    "oscillation": (
        "The two networks chase each other: what is painted keeps changing, and comes back, without getting "
        "better."
    ),
    "undertrained": "It has not seen enough images yet, and was still getting better when it ended.",
}
