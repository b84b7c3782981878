"""Start the supervisor of a node: the same as ``caxton serve``."""

import sys

# The children of the supervisor import this file again; only the first may start anything.
if __name__ == "__main__":
    from caxton.cli.main import main

    sys.exit(main(["serve", *sys.argv[1:]]))
