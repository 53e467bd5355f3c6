"""The revision whose SQL stands beside this file."""

from migrations.sql import run_beside

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
