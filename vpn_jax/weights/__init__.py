"""Published weights and their file formats -> this package's trees."""
