"""How often long tests repeat: a share in every run of the suite, and all that was promised where it is asked for.

RUIJI_THOROUGH=1 in the environment asks (`make test-thorough`).
"""

import os

THOROUGH = os.environ.get("RUIJI_THOROUGH") == "1"


def rounds(many: int, few: int) -> int:
    """`many` where thoroughness is asked for, else `few`."""
    return many if THOROUGH else few
