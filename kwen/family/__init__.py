"""Families: a recipe names the artifacts, the build makes what is missing or stale, the report shows the whole."""
