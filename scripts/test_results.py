#!/usr/bin/env python3
"""Print the sum of pytest's results, files of ``--junitxml``, as one line in pytest's words."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def summary(files: list[Path]) -> str:
    """The line; a file that a run did not write ends the program with what is missing."""
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    seconds = 0.0
    for file in files:
        for suite in ET.parse(file).getroot().iter("testsuite"):
            seconds += float(suite.attrib["time"])
            for name in counts:
                counts[name] += int(suite.attrib[name])
    passed = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    named = {
        "failed": counts["failures"],
        "passed": passed,
        "skipped": counts["skipped"],
        "errors": counts["errors"],
    }
    said = ", ".join(f"{count} {word}" for word, count in named.items() if count)
    return f"==== {said or 'no tests ran'} in {seconds:.2f}s ===="


if __name__ == "__main__":
    print(summary([Path(name) for name in sys.argv[1:]]))
