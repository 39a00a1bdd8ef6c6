"""Published checkpoints: which keys become which of our tensors. One family a file, every key accounted for."""
