"""Duplicates among pairs: equal keys, near-equal pictures, which row survives, and which rows belong together.

Plain functions over packed numpy arrays, one entry a row. None of their results depends on the order of the rows.
"""
