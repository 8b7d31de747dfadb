"""Scorers: what measures a pair with a model, or by listed rules, and writes columns that rules read later."""
