"""Judging answers by rule and by execution."""
