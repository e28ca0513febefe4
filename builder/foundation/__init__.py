"""What every layer stands on: errors, digests, processes, the store, progress, paths."""
