"""Meta-training of learned optimizers: families of tasks, unrolled inner training, evaluation."""
