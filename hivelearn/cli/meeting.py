"""Where and how to meet others: the options of every command that joins a swarm."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from hivelearn.errors import UsageError

if TYPE_CHECKING:
    from hivelearn.node.share.network import JoinOptions


@dataclass(frozen=True, slots=True)
class MeetingOptions:
    """Which network, and whom to look for there."""

    peer: Annotated[
        list[str] | None, typer.Option(help="host:port or hl1…@host:port; several times.")
    ] = None
    listen: Annotated[
        str | None, typer.Option(help="host:port; port 0, as by default, is any free one.")
    ] = None
    secret: Annotated[
        str | None, typer.Option(help="Closes the topics to others.", envvar="HIVELEARN_SECRET")
    ] = None
    fabric: Annotated[str, typer.Option(help="Which network.")] = "lan"
    discover: Annotated[
        bool | None, typer.Option(help="Look for peers on the local network, as by default.")
    ] = None

    def how(self) -> "JoinOptions":
        """Return them as `node.join` takes them.

        Raises:
            UsageError: a fabric on which a process of its own meets nobody.
        """
        from hivelearn.node.share.network import JoinOptions
        from hivelearn.swarm.fabrics.fabric_table import FABRICS, IN_PROCESS

        if self.fabric in IN_PROCESS:
            raise UsageError(
                f"the fabric {self.fabric!r} joins nodes of one Python process, and this is one",
                remedy=f"Use one of: {', '.join(sorted(FABRICS.keys() - IN_PROCESS))}.",
            )
        options = {"peers": self.peer, "listen": self.listen, "discover": self.discover}
        return JoinOptions.of({"fabric": self.fabric, "secret": self.secret} | options)
