"""What the service does, in terms of its own domain.

Services take what they need when they are made and know nothing of HTTP
requests or Celery. ``config`` makes them for the web, ``worker`` for the
capture worker and ``cli`` for the command line.
"""
