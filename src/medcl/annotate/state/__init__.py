"""What the server remembers: SQL through SQLAlchemy, SQLite by default."""
