"""Use cases on a whole pool: create, change, merge, resize, retire."""
