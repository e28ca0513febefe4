"""A security agent: BPF sees, rules judge, a model learns what is normal."""
