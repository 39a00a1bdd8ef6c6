"""What asks a trained model questions: scores, robustness, similarity of its streams."""
