"""The HTTP side: reads requests, calls services, writes responses; nothing else."""
