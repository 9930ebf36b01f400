"""Generators ``G(z, y) -> images`` and discriminators ``D(x, y) -> logits``; y may be None."""
