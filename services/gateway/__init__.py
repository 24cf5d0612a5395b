"""HTTP in front of an installation: what enters is in Kafka or MongoDB before it is answered."""
