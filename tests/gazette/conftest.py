"""The test project's own modules can be imported here; those without models, that is."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "testproject"))
