"""The same experiments on one machine, on Slurm, on Kubernetes and TPU pods; and many at once."""
