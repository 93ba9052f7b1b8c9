"""What no longer fits between NetBox and the plugin: found, reported, repaired."""
