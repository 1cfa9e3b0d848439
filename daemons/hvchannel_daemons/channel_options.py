# SPDX-License-Identifier: Apache-2.0
"""The options of a daemon that has TLS on the channel."""

from pathlib import Path
from typing import Annotated

import typer

from hvchannel_daemons.channel.tls import Tls, files

ChannelTls = Annotated[
    Path | None,
    typer.Option(
        "--channel-tls",
        metavar="DIR",
        help="Mutual TLS on the channel, with DIR's ca.pem, cert.pem and key.pem; read anew when they change.",
        show_default="no TLS",
    ),
]
ChannelCa = Annotated[
    Path | None,
    typer.Option(
        help="Whom the channel trusts, one CA or several, instead of DIR's ca.pem.", show_default=False
    ),
]
ChannelCert = Annotated[
    Path | None, typer.Option(help="This end's certificate, instead of DIR's cert.pem.", show_default=False)
]
ChannelKey = Annotated[
    Path | None,
    typer.Option(help="Its private key (mode 0600), instead of DIR's key.pem.", show_default=False),
]


def channel_tls(
    directory: Path | None, ca: Path | None, cert: Path | None, key: Path | None, *, needs: str | None = None
) -> Tls | None:
    """What the options say. `needs`: a name the certificate must be for. Raises TlsError."""
    where = files(directory, ca, cert, key)
    return None if where is None else Tls.open(where, needs=needs)
