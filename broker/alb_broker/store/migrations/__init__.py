"""How the schema of the results store came to be, in Alembic's form. A released step never changes."""
