"""The documentation, and the two programs that it is made with."""
