"""SQL as the engine speaks it: which statements read, values in and out, and pools over SQLAlchemy."""
