"""Look the installed packages up in a vulnerability service: `python tools/audit.py`, with pip-audit installed as well.

It ends with 0 when every package was looked up and none is known to be vulnerable, with 1 when one is, and with 3 when
no service could be asked about all of them. That is not a pass: pip-audit itself calls a package that its service does
not know "no known vulnerabilities", so behind a mirror of the package index it would pass whatever is installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

SERVICES: Final = ("pypi", "osv")
CLEAN, VULNERABLE, NOT_AUDITED = 0, 1, 3
#: Not to be found in any index: what is audited is what it needs.
OURSELVES: Final = "backtest-mongo"
SECONDS: Final = 300


def main() -> int:
    unknown: list[str] = []
    for service in SERVICES:
        packages = _ask(service)
        if packages is None:
            print(f"{service}: no answer")
            continue
        vulnerable = [package for package in packages if package.get("vulns")]
        for package in vulnerable:
            for flaw in package["vulns"]:
                fixed = ", ".join(flaw["fix_versions"]) or "no version yet"
                print(f"{package['name']} {package['version']}: {flaw['id']}, fixed in {fixed}")
        if vulnerable:
            return VULNERABLE
        unknown = [package["name"] for package in packages if "skip_reason" in package]
        print(f"{service}: {len(packages) - len(unknown)} of {len(packages)} packages looked up, none vulnerable")
        if not unknown:
            return CLEAN
    print(f"NOT AUDITED: {', '.join(unknown) if unknown else 'no vulnerability service can be reached from here'}")
    return NOT_AUDITED


def _ask(service: str) -> list[dict[str, Any]] | None:
    """Return what a service says of each package, ``None`` if it does not answer."""
    command = (sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off")
    try:
        done = subprocess.run(
            [*command, "--vulnerability-service", service], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        # A traceback: its last line says why.
        print(*done.stderr.strip().splitlines()[-1:], sep="\n", file=sys.stderr)
        return None
    return [package for package in packages if package["name"] != OURSELVES]


if __name__ == "__main__":
    sys.exit(main())
