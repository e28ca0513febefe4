"""The scheduler agent: a scheduler of BPF programs, what predicts for it, and what watches over it."""
