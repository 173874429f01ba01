"""Plans for GPUs: ``python -m export.tensorrt``, and ``--check`` where there is none."""
