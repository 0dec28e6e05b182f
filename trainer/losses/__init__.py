"""Metric losses: a pure function and a thin registered Keras class each."""
