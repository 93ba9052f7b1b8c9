"""Numbers, plots and files about pools and segments. Nothing here changes them."""
