"""The first schema: API keys, snapshots, workers and the counters of limits."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "api_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("apikey", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("encrypted_secret", sa.LargeBinary(), nullable=False),
        sa.Column("md5_tokens", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("apikey", name=op.f("uq_api_key_apikey")),
    )
    op.create_table(
        "rate_counter",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate_counter")),
    )
    with op.batch_alter_table("rate_counter", schema=None) as batch_op:
        batch_op.create_index("ix_rate_counter_expires_at", ["expires_at"], unique=False)

    op.create_table(
        "snapshot",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("uri", sa.String(length=2048), nullable=False),
        sa.Column("viewport_width", sa.Integer(), nullable=False),
        sa.Column("viewport_height", sa.Integer(), nullable=False),
        sa.Column("extent", sa.String(length=8), nullable=False),
        sa.Column("requester", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("requested_at", sa.DateTime(), nullable=False),
        sa.Column("not_before", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=True),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column("lease_owner", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.Column("error_code", sa.String(length=40), nullable=True),
        sa.Column("error_message", sa.String(length=300), nullable=True),
        sa.Column("final_uri", sa.Text(), nullable=True),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("stored_bytes", sa.Integer(), nullable=True),
        sa.Column("duration", sa.Double(), nullable=True),
        sa.Column("browser_version", sa.String(length=100), nullable=True),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("blank", sa.Boolean(), nullable=False),
        sa.Column("timings", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
        sa.UniqueConstraint("token", name=op.f("uq_snapshot_token")),
    )
    with op.batch_alter_table("snapshot", schema=None) as batch_op:
        batch_op.create_index("ix_snapshot_key_state_id", ["key", "state", "id"], unique=False)
        batch_op.create_index("ix_snapshot_requester_started_at", ["requester", "started_at"], unique=False)
        batch_op.create_index("ix_snapshot_state_finished_at", ["state", "finished_at"], unique=False)
        batch_op.create_index("ix_snapshot_state_not_before", ["state", "not_before"], unique=False)
        batch_op.create_index(
            "uq_snapshot_active_key",
            ["key"],
            unique=True,
            sqlite_where=sa.text("state IN ('queued', 'capturing')"),
            postgresql_where=sa.text("state IN ('queued', 'capturing')"),
        )

    op.create_table(
        "worker",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("browser_version", sa.String(length=100), nullable=True),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("beat_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("worker")
    with op.batch_alter_table("snapshot", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_snapshot_active_key",
            sqlite_where=sa.text("state IN ('queued', 'capturing')"),
            postgresql_where=sa.text("state IN ('queued', 'capturing')"),
        )
        batch_op.drop_index("ix_snapshot_state_not_before")
        batch_op.drop_index("ix_snapshot_state_finished_at")
        batch_op.drop_index("ix_snapshot_requester_started_at")
        batch_op.drop_index("ix_snapshot_key_state_id")

    op.drop_table("snapshot")
    with op.batch_alter_table("rate_counter", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rate_counter_expires_at"))

    op.drop_table("rate_counter")
    op.drop_table("api_key")
