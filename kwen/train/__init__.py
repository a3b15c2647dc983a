"""The one training loop and its parts: packing, batches, loss, optimiser, ranks, checkpoints, metrics."""
