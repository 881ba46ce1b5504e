"""What does the exported student take?"""
