"""Measuring a model: tasks as data, kept answers, scores with their standard errors, bits a byte."""
