"""Metrics as functions of features: float64 arrays in, estimates with intervals out."""
