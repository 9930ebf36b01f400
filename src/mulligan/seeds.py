"""One seed makes every stream of randomness in a run, each independent of the others."""

from __future__ import annotations

import hashlib


def derive(seed: int, *purpose: str | int) -> int:
    """Return the seed, 0..2^63 - 1, of one stream: a pure function of the run's seed and its purpose.

    ``derive(7, "latent")`` and ``derive(7, "epoch", 3)`` share nothing; a hash decides, because
    neighbouring seeds of a Mersenne Twister are not independent.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
