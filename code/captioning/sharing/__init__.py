"""A captioner that leaves this machine: its card on the hub, and an archive of its run."""
