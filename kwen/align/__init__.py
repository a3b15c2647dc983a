"""From a base model to an aligned chat model."""
