"""The house as it is built: who depends on whom, read from the sources.

`python -m tests.architecture` prints it, and fails on what the tables of
`tables.py` do not explain. Nothing of the program is imported or run.
"""
