"""``python -m linkpeek`` is the command ``linkpeek``."""

from linkpeek.cli import main

main(prog_name="linkpeek")
