"""From sources of text to a corpus, and from a corpus to token shards.

sources (folder, nanoworld, interpreter) -> documents -> normalise -> deduplicate -> split
    -> train.jsonl, held_out.jsonl, statistics.json -> shards
"""
