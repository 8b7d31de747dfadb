"""What can be said of a scene, in English, German, French and Spanish; and what a caption says, read back."""

from pairmill.pipeline.demo.grammar.captions import LANGUAGES, caption
from pairmill.pipeline.demo.grammar.facts import Facts, Mention, facts_of
from pairmill.pipeline.demo.grammar.reading import read_facts

__all__ = ["LANGUAGES", "Facts", "Mention", "caption", "facts_of", "read_facts"]
