"""The schema that the first release begins with; `infra.database.engine` makes it in an empty database

Every later change is a migration beside this file, and is made in the tables or the SQL files of the schema too.
"""

revision = "0033"
down_revision = None


def upgrade() -> None:
    """Do nothing: databases of this revision have the schema."""
