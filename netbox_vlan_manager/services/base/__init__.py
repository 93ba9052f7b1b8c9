"""What all other services stand on: locks and retries, the change log, permissions, which pool a name means."""
