"""The light scorecard that watches a run."""

from __future__ import annotations

from mulligan.data.dataset import Dataset
from mulligan.data.synthetic import PLANES
from mulligan.runlog import Row
from mulligan.scorecard import building, measure, toys
from mulligan.scorecard.reference import MOST, Reference, find
from mulligan.scorecard.source import Samples
from mulligan.state import State

POINTS = 2500
FEWEST = 64  # images: of fewer no score means anything


class Light:
    """Draws a few thousand images of a run's generator and measures them.

    Always the same latents: what changes from card to card is the generator. MNIST, and what stands in
    for it, is judged by the evaluator in the package; anything else by the fallback, a network with
    random weights, against a third of the run's own images.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._reference: Reference | None = None
        self._alike = False

    def __call__(self, state: State) -> Row:
        """Return the card as a row of the log has it."""
        name = self._dataset.name
        sampler = state.sampler()
        if state.recipe.generator.output == "linear":
            if name not in PLANES:
                return {}
            card = toys.judge_points(Samples(sampler.sample(POINTS), None, None, name), name)
            figures = {key: metric.value for key, metric in card.metrics.items()}
            return {"judge": name, **figures, "modes_floor": card.metrics["modes"].floor}
        if len(self._dataset) < FEWEST or self._alike:
            return {}
        images = sampler.sample(state.recipe.card.n)
        try:
            reference = self._reference = self._reference or _suited(self._dataset, len(images))
        except building.Alike:
            self._alike = True
            return {}
        judged = reference.evaluator.judge(images)
        found = measure.compare_lightly(judged, reference)
        histogram, missing = measure.missing(judged, reference)
        row: Row = {"judge": reference.evaluator.about.name, "n": len(images)}
        row |= {key: estimate.value for key, estimate in found.items()}
        row |= {"frechet_low": found["frechet"].low, "frechet_high": found["frechet"].high}
        row["frechet_floor"] = reference.floor("frechet", len(images))
        if histogram:
            row |= {"classes": histogram, "missing": missing}
        return row


def _suited(dataset: Dataset, n: int) -> Reference:
    """Return the package's reference where it suits, and one made on the spot for anything else."""
    shipped = find("mnist")
    if shipped.suits(dataset.name, dataset.sha256, dataset.image_shape):
        return shipped
    training, test = building.split(dataset, seed=0, most=max(n, MOST))
    return building.compare_real(
        building.fallback(dataset.image_shape),
        training,
        test,
        name=dataset.name,
        source=None,
        sizes=(n,),
        light=True,
    )
