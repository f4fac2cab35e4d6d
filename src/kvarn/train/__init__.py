"""Training: optimizers, slots, the global step, starting from checkpoints."""
