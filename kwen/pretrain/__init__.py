"""Pretraining: base models from token shards."""
