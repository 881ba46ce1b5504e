"""A run: flags, method, optimizer, training, its folder."""
