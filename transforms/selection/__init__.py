"""Selection: exact top fractions and budgets over any number of rows."""
