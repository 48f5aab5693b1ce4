"""What a replica is: a bundle, and a scorer that answers the same whatever the company."""
