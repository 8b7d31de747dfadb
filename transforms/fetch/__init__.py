"""Fetching: from wanted images (URLs, files, members of tars) to their bytes, each with a status from a fixed list."""
