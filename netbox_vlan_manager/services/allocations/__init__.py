"""Who holds which segment: allocate, release, renew, share."""
