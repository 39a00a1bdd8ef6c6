"""Manifests, samplers, loaders, shards and corpora. Knows no system: a processor is handed in."""
