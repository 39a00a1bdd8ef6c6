"""The training engine: a run's description, the loop, checkpoints and the journal. Knows nothing by name."""
