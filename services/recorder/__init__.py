"""Reads run records and writes them to MongoDB, where people search them."""
