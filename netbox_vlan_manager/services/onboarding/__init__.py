"""Makes segments of existing data: files, VLANs and prefixes in NetBox, and the data of the first generation."""
