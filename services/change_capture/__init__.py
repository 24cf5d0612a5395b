"""Reads MongoDB's changes of rows and publishes each as an event, once."""
