"""Layers as Keras has them, and what they are configured with; no models."""
