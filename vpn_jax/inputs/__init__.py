"""Records -> batches of the network's inputs."""
