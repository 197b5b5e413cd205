"""Backups: the whole of a service in one file, and the way back.

``archive`` is the file's format, ``dump`` the database as lines of text that any
database can take in, ``output`` where the file goes. ``make`` and ``restore`` are
the two ways; ``staging``, ``place`` and ``database`` are what a restore is made of.
A backup holds the service's secret: it is as private as the service.
"""

from linkpeek.backup.errors import BadBackup, ServiceExists
from linkpeek.backup.make import Saved, back_up
from linkpeek.backup.place import Restored
from linkpeek.backup.restore import inspect, restore

__all__ = ["BadBackup", "Restored", "Saved", "ServiceExists", "back_up", "inspect", "restore"]
