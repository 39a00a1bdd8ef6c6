"""The training engine: a run's description, the loop, checkpoints and the journal. It names no system and no task."""
