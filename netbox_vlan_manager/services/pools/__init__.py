"""What is done with a whole pool: merge, resize, retire."""
