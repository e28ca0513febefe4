"""The scheduler's ablation: schedulers and predictors against workloads, measured in a guest, judged on the host."""
