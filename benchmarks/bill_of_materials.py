"""Print what trailward is installed with, in CycloneDX form: packages, versions, licences.

.venv/bin/python benchmarks/bill_of_materials.py > sbom.json
"""

import json
import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any


def needed(name: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """A package and all that it needs, as far as it is installed, by name."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return found
    try:
        found[key] = distribution(name)
    except PackageNotFoundError:
        return found
    for requirement in found[key].requires or []:
        needed(re.split(r"[^\w.-]", requirement, maxsplit=1)[0], found)
    return found


def component(name: str, package: Distribution) -> dict[str, Any]:
    """A package as CycloneDX describes it."""
    told = package.metadata
    said = [told.get("License-Expression") or told.get("License") or ""]
    said += [line for line in told.get_all("Classifier") or [] if line.startswith("License ::")]
    licence = next((line.splitlines()[0][:80] for line in said if line.strip()), "not stated")
    place = f"pkg:pypi/{name}@{package.version}"
    return {
        "type": "library",
        "name": name,
        "version": package.version,
        "purl": place,
        "bom-ref": place,
        "licenses": [{"license": {"name": licence.rpartition(":: ")[2]}}],
    }


def bill() -> dict[str, Any]:
    """The whole list."""
    parts = [component(*each) for each in sorted(needed("trailward", {}).items())]
    own = next(part for part in parts if part["name"] == "trailward")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": own | {"type": "application"}},
        "components": [part for part in parts if part is not own],
    }


if __name__ == "__main__":
    print(json.dumps(bill(), indent=1))
