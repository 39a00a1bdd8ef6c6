"""Audio from file to model input: decoding, features, random views."""
