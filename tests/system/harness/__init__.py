"""Real daemon, real clients: what the system tests are made of."""
