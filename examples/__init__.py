"""Runners and their parts: students, data and optimizers.

Each runner is started as `python -m examples.<name>`; nothing in the package
`keras_selfkd` imports from here.
"""
