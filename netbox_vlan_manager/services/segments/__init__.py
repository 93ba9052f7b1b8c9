"""Segments, with their VLANs and prefixes: what is free, what is made, and what keeps them true in NetBox."""
