"""What must survive the framework's death: its store, on SQLite or PostgreSQL, and who of several instances leads."""
