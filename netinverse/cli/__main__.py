"""``python -m netinverse.cli``, which is ``netinverse``."""

import sys

from netinverse.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
