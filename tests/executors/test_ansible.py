"""`ansible` with the real ansible-runner, on this project's own playbooks and on small ones made here."""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.executors.ansible import AnsibleExecutor
from pipelines.executors.base import (
    Artifact,
    EngineAwayError,
    Log,
    Outcome,
    PlanError,
    Progress,
    StageSpec,
    Unattended,
    Workplace,
)
from pipelines.executors.store import Store

PROJECT = Path(__file__).resolve().parents[2]
SECRET = "hunter2-Geheimnis/ä"
PATIENCE = 120.0

HOSTS = """
shop:
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  hosts: {near: {}, far: {}}
"""


SLEEP = """
    - name: Begin
      ansible.builtin.shell: "echo begun >> {{ burger_environment_dir }}.log"
      changed_when: true
    - name: Wait
      ansible.builtin.command: "sleep {{ seconds }}"
      changed_when: false
"""


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Ansible's compiled files, made once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(tmp_path, cache):
    found = tmp_path / "home"
    (found / "secrets" / "platform").mkdir(parents=True)
    (found / "cache").symlink_to(cache)
    for name in ("shop-key", "vault"):
        path = found / "secrets" / "platform" / name
        path.write_text(f"{SECRET}\n")
        path.chmod(0o600)
    return found


def workspace(home, files):
    """Put files into the store as the tree of a commit."""
    tree = home.parent / f"tree-{len(list(home.parent.iterdir()))}"
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    digest, size = Store(home).pack(tree)
    return Artifact("source", "workspace", digest, size)


def own_playbooks(home):
    tree = home.parent / "own"
    shutil.copytree(PROJECT / "playbooks", tree / "playbooks")
    digest, size = Store(home).pack(tree)
    return Artifact("source", "workspace", digest, size)


def small(home, tasks, hosts=HOSTS, **more):
    """The workspace of a playbook of one play with these tasks (YAML, a list)."""
    play = f"- name: Small\n  hosts: all\n  gather_facts: false\n  tasks:\n{tasks}"
    files = {"playbooks/site.yml": play, "playbooks/inventories/staging": hosts, **more}
    return workspace(home, files)


def spec(artifact, *, approved=None, timeout=PATIENCE, **with_):
    return StageSpec(
        run=7,
        pipeline="shop",
        stage="configure",
        kind="ansible",
        owner="platform",
        commit="c" * 40,
        environment="staging",
        with_=with_,
        artifacts={artifact.name: artifact},
        timeout=timeout,
        approved_digest=approved,
    )


def start(home, stage, key="a", control=None):
    """(everything in the log, all that came besides, the outcome)."""
    events = list(AnsibleExecutor(Workplace(home)).start(stage, key, control or Unattended()))
    assert isinstance(events[-1], Outcome)
    return "".join(e.text for e in events if isinstance(e, Log)), events[:-1], events[-1]


def forms(secret):
    data = secret.encode()
    return [data, base64.b64encode(data).rstrip(b"="), data.hex().encode(), json.dumps(secret)[1:-1].encode()]


def files_with_the_secret(folder):
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and any(form in path.read_bytes() for form in forms(SECRET))
    ]


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def processes_with(mark):
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                if mark.encode() in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
            except OSError:
                continue
    return found


def test_the_plan_of_our_own_playbooks_is_what_then_happens(home):
    stage = spec(own_playbooks(home), secrets={"SHOP_KEY": "shop-key"})
    executor = AnsibleExecutor(Workplace(home))
    plan = executor.plan(stage)
    environment = home / "environments" / "staging"
    assert not environment.exists()
    assert plan.summary == "run playbooks/site.yml on staging: 4 changes"
    assert "+SHOP_CURRENCY=EUR" in "".join(change.diff for change in plan.changes)
    assert ["+SHOP_KEY: " in change.diff for change in plan.changes if "secrets" in change.title] == [True]
    assert str(home) not in json.dumps(plan.as_dict())
    assert SECRET not in json.dumps(plan.as_dict(), ensure_ascii=False)

    log, events, end = start(home, stage)
    assert (end.state, end.reason) == ("succeeded", "4 changes on 1 host")
    assert "TASK 4 environment_variables : Write the variables\n  changed shop-1\n" in log
    assert [e for e in events if isinstance(e, Progress)][-1].data["hosts"]["shop-1"]["changed"] == 4
    secrets = environment / "config" / "secrets.env"
    assert secrets.read_text() == f"SHOP_KEY={SECRET}\n"
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert json.loads((environment / "access.json").read_text())["kitchen"] == ["127.0.0.0/8", "::1/128"]
    assert files_with_the_secret(home / "work") == files_with_the_secret(home / "plans") == []

    again = executor.plan(stage)
    assert (again.changes, again.summary) == ([], "run playbooks/site.yml on staging: no changes")
    (home / "secrets" / "platform" / "shop-key").write_text("another")
    (differs,) = executor.plan(stage).changes
    assert (differs.title, "another" in differs.diff) == ("shop-1: secrets : Foresee the file of the secrets", False)


def test_only_what_was_approved_is_done(home):
    tasks = """
    - name: Write
      ansible.builtin.copy:
        content: burgers
        dest: "{{ burger_environment_dir }}.menu"
        mode: "0600"
"""
    (home / "environments").mkdir()
    stage = spec(small(home, tasks), limit="near")
    approved = replace(stage, approved_digest=AnsibleExecutor(Workplace(home)).plan(stage).digest)
    menu = home / "environments" / "staging.menu"
    menu.write_text("pizza")
    assert start(home, approved)[2].state == "changed"
    assert menu.read_text() == "pizza"
    menu.unlink()
    assert start(home, approved, key="b")[2].state == "succeeded"
    assert menu.read_text() == "burgers"


def test_a_retry_goes_on_with_the_plan_that_was_half_applied(home):
    tasks = """
    - name: Serve
      ansible.builtin.debug:
        msg: burgers
"""
    approved = "sha256:" + "0" * 64
    stage = spec(small(home, tasks), approved=approved, _retry={"applied": approved, "limit": ["far"]})
    _, _, end = start(home, stage)
    assert (end.state, list(end.data["hosts"])) == ("succeeded", ["far"])


def test_a_failure_names_host_task_and_message_and_shows_no_secret(home):
    tasks = """
    - name: Tell everybody
      ansible.builtin.debug:
        msg: "{{ burger_secrets.SHOP_KEY }} {{ burger_secrets.SHOP_KEY | b64encode }}"
    - name: Refuse
      ansible.builtin.fail:
        msg: "no burgers in {{ burger_environment }} with {{ burger_secrets.SHOP_KEY }}"
      when: inventory_hostname == 'far'
"""
    stage = spec(small(home, tasks), secrets={"SHOP_KEY": "shop-key"})
    log, _, end = start(home, stage)
    assert (end.state, end.reason) == ("failed", "Failed: far, task “Refuse”: no burgers in staging with ***")
    assert end.retry_hint == {}
    assert SECRET not in log
    assert files_with_the_secret(home / "work") == []
    # A check is given something else in its place.
    with pytest.raises(PlanError, match=r"failed: far, task “Refuse”: no burgers in staging with \(secret SHOP_KEY, "):
        AnsibleExecutor(Workplace(home)).plan(stage)


def test_only_unreachable_hosts_are_tried_again(home):
    ssh = home.parent / "ssh"
    ssh.write_text("#!/bin/sh\necho 'ssh: connect to host far port 22: Connection refused' >&2\nexit 255\n")
    ssh.chmod(0o700)
    hosts = HOSTS.replace("far: {}", f"far: {{ansible_connection: ssh, ansible_ssh_executable: {ssh}}}")
    tasks = """
    - name: Look
      ansible.builtin.command: "true"
      changed_when: false
"""
    artifact = small(home, tasks, hosts)
    _, _, end = start(home, spec(artifact))
    assert (end.state, end.retry_hint) == ("error", {"limit": ["far"]})
    assert "Unreachable: far (" in end.reason
    assert "Connection refused" in end.reason
    _, _, second = start(home, spec(artifact, _retry=end.retry_hint), key="b")
    assert list(second.data["hosts"]) == ["far"]


def test_a_syntax_error_is_told_with_its_line(home):
    _, _, end = start(home, spec(small(home, "    - name: Broken\n      ansible.builtin.dbug:\n        msg: x\n")))
    assert end.state == "failed"
    assert "ansible.builtin.dbug" in end.reason
    assert "playbooks/site.yml:5" in end.reason


def test_a_playbook_that_finds_no_host_does_not_pass(home):
    files = {
        "playbooks/site.yml": "- name: Nobody\n  hosts: elsewhere\n  tasks: []\n",
        "playbooks/inventories/staging": HOSTS,
    }
    _, _, end = start(home, spec(workspace(home, files)))
    assert (end.state, "found no host to work on" in end.reason) == ("failed", True)


def test_a_vault_is_opened_with_the_referenced_password(home, tmp_path):
    plain = tmp_path / "vault.yml"
    plain.write_text("sauce: very-hidden-sauce\n")
    password = home / "secrets" / "platform" / "vault"
    vault = Path(sys.executable).with_name("ansible-vault")
    command = [str(vault), "encrypt", "--vault-password-file", str(password), str(plain)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    tasks = """
    - name: Taste
      ansible.builtin.copy:
        content: "{{ sauce }}"
        dest: "{{ burger_environment_dir }}.sauce"
        mode: "0600"
      no_log: true
      run_once: true
"""
    vars_file = {"playbooks/group_vars/all.yml": plain.read_text()}
    (home / "environments").mkdir()
    log, _, end = start(home, spec(small(home, tasks, **vars_file), vault_password="vault"))
    assert end.state == "succeeded"
    assert (home / "environments" / "staging.sauce").read_text() == "very-hidden-sauce"
    assert "hidden by no_log" in log
    kept = [p for p in (home / "work").rglob("*") if p.is_file() and b"very-hidden-sauce" in p.read_bytes()]
    assert kept == files_with_the_secret(home / "work") == []


@pytest.mark.parametrize("inline", [False, True])
def test_what_lies_in_a_vault_stands_in_no_difference_and_no_message(home, tmp_path, inline):
    password = home / "secrets" / "platform" / "vault"
    plain = tmp_path / "plain"
    plain.write_text("very-hidden-sauce" if inline else "sauce: very-hidden-sauce\nspoons: 2\n")
    vault = Path(sys.executable).with_name("ansible-vault")
    command = [str(vault), "encrypt", "--vault-password-file", str(password), str(plain)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    variables = plain.read_text()
    if inline:
        variables = f"sauce: !vault |\n{textwrap.indent(variables, '  ')}\n"
    tasks = """
    - name: Taste
      ansible.builtin.copy:
        content: "a word {{ sauce }} and more\\n"
        dest: "{{ burger_environment_dir }}.sauce"
        mode: "0600"
      run_once: true
    - name: Tell
      ansible.builtin.debug:
        msg: "it is {{ sauce | b64encode }}"
      run_once: true
"""
    (home / "environments").mkdir()
    stage = spec(small(home, tasks, **{"playbooks/group_vars/all.yml": variables}), vault_password="vault")
    plan = AnsibleExecutor(Workplace(home)).plan(stage)
    assert "a word *** and more" in json.dumps(plan.as_dict())
    log, _, end = start(home, stage)
    assert end.state == "succeeded"
    assert "very-hidden-sauce" not in json.dumps(plan.as_dict()) + log
    assert "dmVyeS1oaWRkZW4tc2F1Y2" not in log
    assert (home / "environments" / "staging.sauce").read_text() == "a word very-hidden-sauce and more\n"


def test_cancel_ends_every_process(home):
    mark = "7654.321"
    (home / "environments").mkdir()
    stage = spec(small(home, SLEEP), variables={"seconds": mark}, limit="near")
    ends = []
    thread = threading.Thread(target=lambda: ends.append(start(home, stage)[2]))
    thread.start()
    wait_for(lambda: processes_with(mark))
    executor = AnsibleExecutor(Workplace(home))
    assert executor.probe(stage, "a").state == "running"
    executor.cancel(stage, "a")
    assert processes_with(mark) == []
    thread.join(PATIENCE)
    assert [end.state for end in ends] == ["canceled"]
    assert not (home / "work" / "a" / "runner").exists()


def test_a_playbook_that_takes_too_long_is_ended(home):
    mark = "7654.322"
    (home / "environments").mkdir()
    _, _, end = start(home, spec(small(home, SLEEP), timeout=4.0, variables={"seconds": mark}, limit="near"))
    assert (end.state, "longer than 4 s" in end.reason) == ("failed", True)
    assert processes_with(mark) == []


def test_a_playbook_outlives_its_worker_and_is_joined(home, tmp_path):
    (home / "environments").mkdir()
    stage = spec(small(home, SLEEP), variables={"seconds": "3"}, limit="near")
    (tmp_path / "spec").write_bytes(pickle.dumps(stage))
    code = (
        "import pickle, sys; from pathlib import Path\n"
        "from pipelines.executors.ansible import AnsibleExecutor\n"
        "from pipelines.executors.base import Unattended, Workplace\n"
        "spec = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "for _ in AnsibleExecutor(Workplace(Path(sys.argv[2]))).start(spec, 'a', Unattended()): pass\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "spec"), str(home)], cwd=PROJECT)
    begun = home / "environments" / "staging.log"
    wait_for(begun.exists)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    executor = AnsibleExecutor(Workplace(home))
    assert executor.probe(stage, "a").state == "running"
    log, _, end = start(home, stage)
    assert (end.state, "2 ok" in log) == ("succeeded", True)
    assert begun.read_text() == "begun\n"
    assert executor.probe(stage, "a").state == "done"
    assert start(home, stage)[2] == end


def test_an_environment_on_clusters_that_are_away_waits_for_them(home):
    nowhere = {"clusters": [{"name": "far", "cluster": {"server": "https://127.0.0.1:1"}}], "current-context": "far"}
    nowhere |= {"contexts": [{"name": "far", "context": {"cluster": "far", "user": "me"}}], "users": [{"name": "me"}]}
    (home / "far.kubeconfig").write_text(json.dumps(nowhere))
    places = {"staging": {"places": [{"cluster": "far", "namespace": "shop"}]}}
    known = {"clusters": {"far": {"kubeconfig": "far.kubeconfig"}}, "environments": places}
    (home / "connections.yaml").write_text(json.dumps(known))
    stage = spec(small(home, SLEEP))
    with pytest.raises(EngineAwayError, match=r"^Unreachable: far/shop\. "):
        AnsibleExecutor(Workplace(home)).plan(stage)
    _, _, end = start(home, stage)
    assert (end.state, end.reason.startswith("Unreachable: far/shop. ")) == ("engine", True)
    assert AnsibleExecutor(Workplace(home)).probe(stage, "a").state == "never_started"


def test_a_secret_that_is_not_there_is_named(home):
    stage = spec(small(home, SLEEP), secrets={"KEY": "lost"})
    with pytest.raises(PlanError, match="'lost' of team 'platform' is not there"):
        AnsibleExecutor(Workplace(home)).plan(stage)
    assert start(home, stage)[2].state == "error"


def test_a_playbook_that_is_not_there_is_named(home):
    _, _, end = start(home, spec(small(home, SLEEP), playbook="playbooks/sites.yml"))
    assert (end.state, "no such file at commit cccccccccccc" in end.reason) == ("error", True)
