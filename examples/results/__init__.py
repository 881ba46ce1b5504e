"""What a run leaves: scores, pictures, model card."""
