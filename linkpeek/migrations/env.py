"""Runs the migrations on the connection that ``linkpeek.migrations.upgrade`` hands over."""

from alembic import context

from linkpeek import models, ratelimit_storage
from linkpeek.db import Base

__all__ = ["models", "ratelimit_storage"]

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
