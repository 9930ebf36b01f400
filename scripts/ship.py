"""Make the file of a generator that comes with the package, and the card beside it.

    mulligan train grand-class --data mnist --out runs/ship
    python scripts/ship.py runs/ship mnist

Weights are halved in width, and the card's figures are those of the halved ones, by `mulligan evaluate`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from mulligan import archive, checkpoint, runlog, scorecard
from mulligan.model import WEIGHTS, load

CARD = """# {name}

A conditional generator of handwritten digits, 1×28×28: `mulligan generate {name} -n 64`.

- **Data**: {data}, {images:,} training images, SHA-256 {sha256}.
- **Training**: recipe `{recipe}`, seed {seed}, {seen:,} images in {updates:,} updates,
  {minutes:.1f} minutes on {machine}, PyTorch {torch}, computed in {mode}.
  `mulligan train {recipe} --data mnist --images {seen} --seed {seed}` does it again.
- **Weights**: {weights:,}, float16. The averaged generator is here, without the discriminator{beside}.

```text
{table}
```

**Limits.** It knows what MNIST knows: centred grey digits of American writers around 1990. It can draw a
digit that is none, or another than the one asked for, as often as the rows above say. It is not meant to
stand in for handwriting in decisions about people.
"""

BESIDE = """. Beside it is a table of
  the groups that each training image is of. A generated image is told of the groups of one of them, which few
  or no others share, and so lies nearer to training images than new digits do (`closer than held-out`)"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    options = parser.parse_args()
    trained = load(options.run)
    meta, weights = trained.about, trained.sampler.generator.state_dict()
    halved = {
        f"generator.{name}": value.to(torch.float16) if value.is_floating_point() else value
        for name, value in weights.items()
    }
    if (joint := trained.sampler.conditions.joint) is not None:
        halved["conditions.joint"] = joint.to(torch.int16)
    WEIGHTS.mkdir(exist_ok=True)
    path = WEIGHTS / f"{options.name}.safetensors"
    archive.write(path, halved, checkpoint.header_of(meta))
    card = scorecard.evaluate(path, reference="mnist")
    (WEIGHTS / f"{options.name}.json").write_text(json.dumps(card.to_json(), indent=2) + "\n", "utf-8")
    machine = json.loads((options.run / runlog.ENVIRONMENT).read_text("utf-8"))
    text = CARD.format(
        name=options.name,
        data=meta.data.name,
        images=meta.data.images,
        sha256=meta.data.sha256,
        recipe=meta.recipe["name"],
        seed=meta.seed,
        seen=meta.images,
        updates=meta.steps,
        minutes=meta.seconds / 60,
        machine=f"{machine['threads']} of {machine['cores']} cores, {machine['cpu']}",
        torch=machine["torch"],
        mode=meta.mode,
        beside="" if joint is None else BESIDE,
        weights=sum(value.numel() for value in weights.values()),
        table="\n".join(card.lines()),
    )
    (WEIGHTS / f"{options.name}.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
