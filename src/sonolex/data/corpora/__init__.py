"""One file per corpus: origin, licence, layout, `prepare`, expected counts. A new corpus is a new file."""
