"""A small optional part of the plugin, which has one of each kind of thing that such a part may have."""
