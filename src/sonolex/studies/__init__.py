"""Studies of a trained model: scores, robustness, similarity of its streams."""
