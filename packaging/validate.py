#!/usr/bin/env python3
"""Checks a Kubernetes manifest against the schemas of every version of the API that kubernetes-validate has.

Exit status 77: kubernetes-validate is not installed (`pip install kubernetes-validate`).
"""

import copy
import sys

try:
    import kubernetes_validate
    import yaml
    from kubernetes_validate import utils
except ImportError as error:
    sys.exit(print(f"{error} (pip install kubernetes-validate)", file=sys.stderr) or 77)

with open(sys.argv[1], encoding="utf-8") as manifest:
    documents = list(yaml.safe_load_all(manifest))
versions = sorted(set(utils.all_versions()), key=lambda text: [int(part) for part in text.split(".")])
for version in versions:
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
        # A check that accepts everything proves nothing.
        broken = copy.deepcopy(document)
        broken["spec"]["template"]["spec"]["hostNetworks"] = True
        try:
            kubernetes_validate.validate(broken, version, strict=True)
        except kubernetes_validate.ValidationError:
            continue
        sys.exit(f"the schema of {version} accepts an unknown field")
print(f"valid for {versions[0]} to {versions[-1]}")
