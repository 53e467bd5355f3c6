"""Runs the SQL file that stands beside a revision."""

from pathlib import Path

from alembic import op

OWNER = "framehouse_owner"


def run_beside(revision_file: str, *, role: str | None = OWNER) -> None:
    """Run `<revision>.sql` in the migration's transaction, as the role that will own what it makes.

    The driver is called directly: SQLAlchemy would read `%` and `:` in the text as parameters.
    """
    text = Path(revision_file).with_suffix(".sql").read_text(encoding="utf-8")
    cursor = op.get_bind().connection.cursor()
    try:
        if role is not None:
            cursor.execute(f"set local role {role}")
        cursor.execute(text)
        cursor.execute("reset role")
    finally:
        cursor.close()
