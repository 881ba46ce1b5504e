"""Students by name, and trained ones read back."""
