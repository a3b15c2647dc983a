"""nanoworld: a small invented world with an oracle, from which a nano family learns and on which it is measured.

`documents` is text to pretrain on, `dialogues` is chat to fine-tune on, `questions` holds what neither has shown and scores answers
to it. For alignment, `prompts` are requests tagged by topic and difficulty, `oracle` grades any reply to them, and `preferences`
compares ideal replies with faulty ones. Everything is a pure function of its seed; nothing is read from disk. Names, number tuples
and question phrasings are split into training and held-out ones by construction, whatever the seed.
"""
