"""Adding columns to a manifest: transcripts, phones, hidden units."""
