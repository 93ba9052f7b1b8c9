"""A small optional part of the plugin, with one example of everything that an optional part may have."""
