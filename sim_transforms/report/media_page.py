"""Writes the page about a catalog's media: one self-contained media.html, no script, no request to anywhere.

Its size is bounded whatever the catalog: at most some 200 pictures of 64 x 64 pixels or waveforms of 1.5 KiB, AUDIBLE
sounds of 0.2 MiB, and as many texts, each cut by `short`, and ids of at most 1 KiB; 10 MiB in all.
"""

from pathlib import Path

from sim_transforms.report.media_data import MediaReport
from sim_transforms.report.page import MEDIA_PAGE, template, write_page

# Sounds that can be listened to.
AUDIBLE = 20
# Pixels of a picture's longest side.
LONGEST_SIDE = 64


def write_media_page(report: MediaReport, output: Path) -> Path:
    """Writes `output/media.html` and the folder's manifest; gives the path of the page."""
    return write_page(template("media.html").render(report=report), output, MEDIA_PAGE)
