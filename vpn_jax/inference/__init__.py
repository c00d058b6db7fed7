"""A trained network on a user's own videos."""
