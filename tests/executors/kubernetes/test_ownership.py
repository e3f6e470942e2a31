"""Who owns which field, from what a server writes; and what importing all this costs."""

from __future__ import annotations

import subprocess
import sys

from pipelines.executors.kubernetes.errors import Conflict, FieldConflict, refusal
from pipelines.executors.kubernetes.ownership import MISSING, owners, shown, value_at

LIVE = {
    "metadata": {
        "finalizers": ["keep"],
        "managedFields": [
            {
                "manager": "burger-stack",
                "operation": "Apply",
                "time": "2026-01-01T00:00:00Z",
                "fieldsV1": {
                    "f:spec": {
                        "f:template": {
                            "f:spec": {"f:containers": {'k:{"name":"web"}': {".": {}, "f:name": {}, "f:image": {}}}}
                        }
                    }
                },
            },
            {
                "manager": "kubectl-edit",
                "operation": "Update",
                "time": "2026-01-02T00:00:00Z",
                "fieldsV1": {"f:spec": {"f:replicas": {}}, "f:metadata": {"f:finalizers": {'v:"keep"': {}}}},
            },
            {"manager": "kubelet", "operation": "Update", "subresource": "status", "fieldsV1": {}},
        ],
    },
    "spec": {"replicas": 5, "template": {"spec": {"containers": [{"name": "side"}, {"name": "web", "image": "x"}]}}},
}


def test_owners_come_with_the_latest_first():
    found = owners(LIVE)
    assert [(owner.manager, owner.is_ours, owner.is_controller) for owner in found] == [
        ("kubectl-edit", False, False),
        ("burger-stack", True, False),
        ("kubelet", False, True),
    ]


def test_paths_read_as_the_server_writes_them_and_lead_to_values():
    values = {shown(path): value_at(LIVE, path) for owner in owners(LIVE) for path in owner.leaves}
    assert values == {
        ".spec.replicas": 5,
        '.metadata.finalizers[="keep"]': "keep",
        '.spec.template.spec.containers[name="web"].name': "web",
        '.spec.template.spec.containers[name="web"].image': "x",
    }


def test_what_is_not_there_is_missing():
    path = (("f", "spec"), ("f", "template"), ("f", "spec"), ("f", "containers"), ("k", {"name": "no"}), ("f", "image"))
    assert value_at(LIVE, path) is MISSING


def test_a_conflict_names_managers_and_fields():
    status = {
        "message": "Apply failed with 1 conflict",
        "reason": "Conflict",
        "details": {
            "causes": [
                {
                    "reason": "FieldManagerConflict",
                    "message": 'conflict with "kubectl-edit" using apps/v1',
                    "field": ".spec.replicas",
                }
            ]
        },
    }
    conflict = refusal(409, status, "apply Deployment/x")
    assert isinstance(conflict, Conflict)
    assert conflict.fields == (FieldConflict("kubectl-edit", ".spec.replicas"),)


def test_the_slow_library_is_only_imported_to_connect():
    program = (
        "import sys; from pipelines.executors.kubernetes import check, drift; sys.exit('kubernetes' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
