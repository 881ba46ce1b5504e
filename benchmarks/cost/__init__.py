"""What does a step take?"""
