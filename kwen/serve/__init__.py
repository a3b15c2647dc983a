"""The server: models behind the APIs that OpenAI's and Anthropic's clients speak."""
