"""The whole of pairmill on Beam: the only modules with transforms of it."""
