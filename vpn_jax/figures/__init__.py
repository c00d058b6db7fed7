"""Numbers -> pictures; the one room that knows about matplotlib."""
