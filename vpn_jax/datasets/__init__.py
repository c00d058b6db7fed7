"""Raw datasets -> clips with their labels, videos and poses."""
