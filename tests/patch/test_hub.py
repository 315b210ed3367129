"""Up to a hub and down again over a real socket; the hub is a small one on this machine."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

import hivelearn as hl
from hivelearn.patch.hub import HubError
from hivelearn.patch.origin import Origin

ADAPTER = hl.Adapter({"layers.0.q": (torch.ones(2, 3), torch.ones(5, 2))}, 2, 4.0)
COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of a hub, and nothing more."""

    def log_message(self, *_):
        """Say nothing."""

    @property
    def files(self):
        return self.server.repos.get("me/it")

    def _send(self, code, body=b"", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.asked.append((self.command, self.path, self.headers.get("Authorization")))
        if self.path == "/api/repos/create":
            if self.server.closed:
                self._send(403, {"error": "Forbidden"}, X_Error_Message="You may not create it")
                return
            self.server.repos.setdefault("me/it", {})
            self._send(200, {"url": f"{self.server.address}/me/it"})
        elif "/preupload/" in self.path:
            asked = json.loads(raw)["files"]
            rows = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]
            self._send(200, {"files": rows})
        elif "/commit/" in self.path:
            for line in map(json.loads, raw.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
            url = f"{self.server.address}/me/it/commit/{COMMIT}"
            self._send(
                200, {"success": True, "commitUrl": url, "commitOid": COMMIT, "hookOutput": ""}
            )
        else:
            self._send(200, {})

    def do_GET(self):
        self.server.asked.append((self.command, self.path, self.headers.get("Authorization")))
        path = self.path.split("?")[0]
        if self.files is None:
            self._send(404, {"error": "no"}, X_Error_Code="RepoNotFound")
        elif path.startswith("/api/models/me/it/tree"):
            rows = [
                {"type": "file", "path": n, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                for n, d in self.files.items()
            ]
            self._send(200, rows)
        elif path.startswith("/api/models/me/it"):
            names = [{"rfilename": name} for name in self.files]
            self._send(200, {"id": "me/it", "sha": COMMIT, "siblings": names})
        elif "/resolve/" in path:
            name = path.split("/resolve/")[1].split("/", 1)[1]
            if name not in self.files:
                self._send(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
                return
            data = self.files[name]
            self._send(200, data, ETag=f'"{hashlib.sha1(data).hexdigest()}"', X_Repo_Commit=COMMIT)
        else:
            self._send(200, {})

    do_HEAD = do_GET  # noqa: N815 - http.server calls it so


@pytest.fixture
def hub(monkeypatch, tmp_path):
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.repos, server.asked, server.closed = {}, [], False
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    # What HF_ENDPOINT and HF_HUB_OFFLINE set, which are read when the library is imported.
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    place = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield server
    server.shutdown()
    server.server_close()


def test_what_is_pushed_is_what_comes_back_and_peft_s_files_are_there(hub):
    url = ADAPTER.push_to_hub("me/it", token="hf_secret")
    assert url.endswith(COMMIT)
    assert sorted(hub.repos["me/it"]) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert any(who == "Bearer hf_secret" for _, _, who in hub.asked)
    assert hl.Adapter.from_pretrained("me/it").to_bytes() == ADAPTER.to_bytes()


def test_a_path_of_this_machine_does_not_go_up(hub):
    mine = hl.Adapter(ADAPTER.factors, 2, 4.0, origin=Origin(model="/home/somebody/models/secret"))
    mine.push_to_hub("me/it", token="hf_x")
    assert not any(b"somebody" in data for data in hub.repos["me/it"].values())


def test_a_readme_of_somebody_else_stays_on_the_hub(hub):
    hub.repos["me/it"] = {"README.md": b"# My own words"}
    ADAPTER.push_to_hub("me/it", token="hf_x")
    assert hub.repos["me/it"]["README.md"] == b"# My own words"
    assert "adapter_model.safetensors" in hub.repos["me/it"]


def test_our_own_readme_is_written_anew_on_the_hub(hub, tmp_path):
    ADAPTER.push_to_hub("me/it", token="hf_x")
    other = hl.Adapter(ADAPTER.factors, 2, 8.0, origin=Origin(model="owner/base"))
    other.push_to_hub("me/it", token="hf_x")
    assert b"owner/base" in hub.repos["me/it"]["README.md"]


def test_code_and_pickles_of_a_repository_are_not_fetched(hub):
    ADAPTER.push_to_hub("me/it", token="hf_x")
    hub.repos["me/it"] |= {"modeling.py": b"evil", "adapter_model.bin": b"evil"}
    hub.asked.clear()
    hl.Adapter.from_pretrained("me/it")
    assert not any("modeling.py" in path or ".bin" in path for _, path, _ in hub.asked)


def test_a_repository_that_is_not_there_and_a_hub_that_refuses_are_told(hub):
    with pytest.raises(HubError, match="me/it") as caught:
        hl.Adapter.from_pretrained("me/it")
    assert "owner/name" in caught.value.remedy
    hub.closed = True
    with pytest.raises(HubError, match="me/it"):
        ADAPTER.push_to_hub("me/it", token="hf_x")


def test_a_folder_is_read_without_a_hub(hub, tmp_path):
    ADAPTER.save_pretrained(tmp_path / "me")
    found = hl.Adapter.from_pretrained(tmp_path / "me")
    assert found.to_bytes() == ADAPTER.to_bytes()
    assert hub.asked == []


def test_a_hub_that_cannot_be_reached_is_told(hub):
    hub.shutdown()
    hub.server_close()
    for door in (lambda: hl.Adapter.from_pretrained("me/it"), lambda: ADAPTER.push_to_hub("me/it")):
        with pytest.raises(HubError, match="me/it"):
            door()


@pytest.mark.parametrize("name", ["", "a/b/c", "/nowhere", "no such name!", "me/\0"], ids=repr)
def test_what_is_neither_a_folder_nor_an_id_is_refused(hub, name):
    with pytest.raises(hl.UsageError):
        hl.Adapter.from_pretrained(name)
    assert Path.cwd().exists()
