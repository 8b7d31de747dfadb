"""Judgement over columns: each rule a small frozen dataclass that keeps a row or names the reason not to."""
