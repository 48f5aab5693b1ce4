"""From labels to a bundle."""
