"""What a search remembers: in memory, in a SQLite file, or in PostgreSQL.

``memory`` and ``sql`` hold the two stores; importing this room loads no SQLAlchemy.
"""
