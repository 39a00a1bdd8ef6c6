"""Audio and text in, `Batch` out: one public module for each kind of input."""
