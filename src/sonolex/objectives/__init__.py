"""Training objectives as pure functions: corruption of inputs, and losses."""
