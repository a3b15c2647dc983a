"""Text in and out: the tokenizer, messages, ChatML, released chat templates, and token shards."""
