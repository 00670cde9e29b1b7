"""Training, whatever is trained: no task, model, dataset or environment is known here."""
