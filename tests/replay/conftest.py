"""Makes this folder's own modules (replay_world, replay_shapes, replay_digests) importable by name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
