"""Settings for tests: those of the shop alone, with an environment of their own where none is given.

pytest tests/ordering --ds ordering.site.testing
"""

import os
import tempfile

os.environ.setdefault("SECRET_KEY", "only-for-tests-" * 4)
if not os.environ.get("DATABASE_URL"):
    os.environ.setdefault("DATA_DIR", tempfile.gettempdir())

from ordering.site.settings import *  # noqa: F403
