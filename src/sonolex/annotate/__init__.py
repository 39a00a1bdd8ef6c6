"""What adds columns to a manifest: transcripts, phones, hidden units."""
