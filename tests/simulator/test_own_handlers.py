"""The simulated artifact repository has the extensions that the entries of a policy folder name, without an edit."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import yaml

from simulator.arm.compute.artifacts import Artifacts
from simulator.demo.own_policies import secret_settings
from simulator.own_handlers import own_handlers


def test_each_entry_of_the_folder_names_a_handler_of_its_system(tmp_path: Path) -> None:
    extensions = tmp_path / "extensions"
    extensions.mkdir()
    (extensions / "a.yaml").write_text(yaml.safe_dump({"publisher": "Contoso", "type": "A", "os": "linux"}))
    (extensions / "b.json").write_text(
        json.dumps({"publisher": "Contoso", "type": "B", "osType": "Windows"}, indent="\t")
    )
    (extensions / "bad.yaml").write_text(yaml.safe_dump({"publisher": "Contoso", "type": "Bad", "os": "linus"}))
    (extensions / "c.yaml").write_text("publisher: [")
    (extensions / "d.yaml").write_text("publisher: Contoso")
    (extensions / "e.txt").write_text("publisher: Contoso\ntype: E")
    (extensions / "f.yaml").mkdir()
    artifacts = Artifacts({})
    artifacts.publish(partial(own_handlers, tmp_path))
    of_linux, of_windows = artifacts.find("contoso", "a"), artifacts.find("Contoso", "B")
    assert of_linux is not None
    assert of_windows is not None
    assert (of_linux.runs_on("ubuntu"), of_linux.runs_on("Windows Server 2022")) == (True, False)
    assert (of_windows.runs_on("ubuntu"), of_windows.runs_on("Windows Server 2022")) == (False, True)
    bad = artifacts.find("Contoso", "Bad")
    assert bad is not None
    assert bad.runs_on("ubuntu")
    assert bad.runs_on("Windows Server 2022")
    release = artifacts.resolve(of_linux, "2.7", auto_upgrade=False)
    assert release is not None
    assert release.installs_on("ubuntu", "24.04", "x64")
    assert [artifacts.find("Contoso", name) for name in "DE"] == [None, None]
    (extensions / "d.yaml").write_text(yaml.safe_dump({"publisher": "Contoso", "type": "D", "os": "linux"}))
    assert artifacts.find("Contoso", "D") is not None  # a file that is written while the cloud runs


def test_an_entry_never_changes_a_handler_that_is_there(tmp_path: Path) -> None:
    artifacts = Artifacts({})
    known = artifacts.find("Microsoft.Azure.Extensions", "CustomScript")
    (tmp_path / "extensions").mkdir()
    entry = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "os": "windows"}
    (tmp_path / "extensions/a.yaml").write_text(yaml.safe_dump(entry))
    artifacts.publish(partial(own_handlers, tmp_path))
    assert artifacts.find("Microsoft.Azure.Extensions", "CustomScript") is known
    assert list(own_handlers(tmp_path / "nowhere")) == []


def test_the_demo_knows_which_settings_of_the_policies_are_secret(tmp_path: Path) -> None:
    policy = {
        "name": "a",
        "settings": {"site": "{SITE}"},
        "protectedSettings": {"api_key": "{API_KEY}", "login": {"password": "x{PASSWORD}"}},
        "workspaces": [{"protectedSettings": {"workspaceKey": "{KEY_OF_ONE}"}}],
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(policy))
    (tmp_path / "b.yaml").write_text("[")
    (tmp_path / "c.json").write_text("[1]")
    (tmp_path / "notes.txt").write_text("{NOTHING}")
    assert secret_settings(tmp_path) == {"API_KEY", "PASSWORD", "KEY_OF_ONE"}
