"""What a relation's words are: ways to tell it and to ask for it.

In all of them `{s}` is the subject, `{o}` the object, `{he}` `{his}` `{He}` `{His}` the subject's pronouns.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Phrasings:
    """The phrasings of one relation in one language.

    The first of `statements` is the canonical answer. `continued` tells the fact of someone named just before. Training asks by
    `questions`, and by `noun_phrases` ("the age of {s}") and `clauses` ("how old {s} is") in the frames of `asking`; it never asks
    by `held_out`. `follow_ups` ask about someone who was the subject of the turn before (training only). A language whose
    questions are clauses as they stand has no `clauses` of its own.
    """

    statements: tuple[str, ...]
    continued: tuple[str, ...]
    questions: tuple[str, ...]
    noun_phrases: tuple[str, ...]
    held_out: tuple[str, ...]
    follow_ups: tuple[str, ...]
    clauses: tuple[str, ...] = ()
