"""W3/W4/W7 with kvarn's embedding variables."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import evlib
from kvarn_ev import Adapter

evlib.main(Adapter)
