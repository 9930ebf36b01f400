"""Figures as people say them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Say how long something takes: ``40 s``, ``2 min 5 s``, ``3 h 20 min``."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60} s"
    return f"{minutes // 60:,} h {minutes % 60} min"
