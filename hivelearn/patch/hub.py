"""Adapters on a hub, through huggingface_hub; a hub is reached by these calls and no others.

Nothing else in hivelearn sends or fetches an adapter there: training, merging and the swarm
never do, and a patch from the network names no model that opening it would fetch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from hivelearn.errors import HivelearnError, UsageError
from hivelearn.patch.mlx_folder import WEIGHTS_FILE as MLX_FILE
from hivelearn.patch.model_card import CARD_FILE, is_ours
from hivelearn.patch.peft_config import CONFIG_FILE, WEIGHTS_FILE

_WANTED: Final = [CONFIG_FILE, WEIGHTS_FILE, MLX_FILE]  # never pickled weights, never code


class HubError(UsageError):
    """A hub has no such repository, refuses, or cannot be reached."""

    remedy = (
        "Check the name (owner/name), log in with `hf auth login` where it is private, and look "
        "whether HF_HUB_OFFLINE is set; a folder on this machine needs no hub."
    )


def fetch(repo_id: str, revision: str | None = None, token: str | None = None) -> Path:
    """Bring an adapter's files into the hub's cache; return their folder.

    Raises:
        HubError: there is none, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    with _told(repo_id):
        found = snapshot_download(repo_id, revision=revision, token=token, allow_patterns=_WANTED)
    return Path(found)


def push(
    write: Callable[[Path], object],
    repo_id: str,
    *,
    token: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
) -> str:
    """Write a folder and upload it; return the address of the commit.

    A README that is there and is not ours stays.

    Args:
        write: writes the files into the folder that it is given.
        repo_id: owner/name; made if it is not there.
        token: of the hub; by default that of `hf auth login`.
        private: of a new repository; by default the owner's setting.
        revision: branch; by default main.
        commit_message: by default "Upload adapter".

    Raises:
        HubError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token, library_name="hivelearn")
    with TemporaryDirectory() as made, _told(repo_id):
        folder = Path(made)
        write(folder)
        name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        theirs = api.file_exists(name, CARD_FILE, revision=revision) and not is_ours(
            Path(api.hf_hub_download(name, CARD_FILE, revision=revision))
        )
        done = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message or "Upload adapter",
            ignore_patterns=[CARD_FILE] if theirs else None,
        )
    return str(done.commit_url)


@contextmanager
def _told(repo_id: str) -> Iterator[None]:
    """Tell what the hub or the way to it says, in one sentence."""
    try:
        yield
    except HivelearnError:
        raise
    except Exception as error:  # two libraries between us and a network raise what they like
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise HubError(f"{repo_id!r} on the hub: {reason[:300]}") from error
