"""The steps: plain functions that do the work, and thin Beam transforms that wire them."""
