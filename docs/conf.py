"""The documentation's settings. Nothing is fetched while building, and warnings are errors:

sphinx-build -W -n -b html docs docs/_build
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from django_river import __version__

project = "django-riverqueue"
author = "the authors of django-riverqueue"
copyright = author
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
# The changelog and the contribution guide stand in the repository's root and are included here.
myst_heading_anchors = 3
nitpicky = True

html_theme = "furo"
html_title = f"{project} {version}"
html_show_sourcelink = False
html_show_copyright = False
