"""What the network is, and how it comes alive."""
