"""How and where a recipe runs: Beam runners and the command line."""
