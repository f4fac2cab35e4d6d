"""Object-based checkpoints: `Checkpoint`, what it finds by following names, and how it is restored."""
