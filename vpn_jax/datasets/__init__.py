"""Raw datasets: names and files -> clips."""
