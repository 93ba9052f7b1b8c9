"""What is there already: files, VLANs and prefixes in NetBox, and what the first generation kept."""
