"""Generating: one engine for chat, evaluation, rollouts and serving."""
