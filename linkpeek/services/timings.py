"""How long the last steps to a first picture took, which the web process takes and not the worker."""

from contextlib import suppress

from sqlalchemy.orm import Session, sessionmaker

from linkpeek.db import transaction
from linkpeek.errors import Unavailable
from linkpeek.models import Snapshot


def note_answer(sessions: sessionmaker[Session], snapshot_id: int, *, encode: float, answer: float) -> None:
    """Add the seconds of the first answer with a snapshot's picture to its row.

    Of many that waited only the first is noted. A database that is busy loses
    the figure, for that is not worth an error.

    :param encode: for the picture in the size that was asked for.
    :param answer: from the end of the capture until the one who waited knew of it.
    """
    with suppress(Unavailable), transaction(sessions) as session:
        snapshot = session.get(Snapshot, snapshot_id)
        if snapshot is not None and snapshot.timings is not None and "answer" not in snapshot.timings:
            noted = {"encode": round(encode, 4), "answer": round(answer, 4)}
            snapshot.timings = {**snapshot.timings, **noted}
