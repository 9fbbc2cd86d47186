"""`espnet-smoe serve`: speech to text for many, by HTTP and by websockets.

    espnet-smoe serve --model exp/train_bbpe500 --model exp/u2pp --port 8765

Recordings, of any model, as OpenAI's clients send them:

    POST /v1/audio/transcriptions   file, model, language, response_format, ...
    POST /v1/audio/translations     the same, into English
    GET /v1/models, /health, /metrics

In a browser, GET / is a page for files and the microphone.

Streams, of U2++ models, by a websocket at /v1/realtime (vLLM's events), /sherpa-onnx
and /wenet (their servers' protocols), or at /espnet-smoe and any other path:

    -> {"type": "start", "rate": 16000}
    -> signed 16-bit little-endian mono audio, in binary frames
    <- {"type": "event", "kind": "partial", "text": ..., "start": ..., "end": ..., ...}
    <- {"type": "event", "kind": "final", "text": ..., "tokens": [...], ...}
    -> {"type": "end"}
    <- {"type": "event", "kind": "final", ...}
    <- {"type": "done"}

docs/protocol.md tells all of it. What a client does wrong ends its own session or
request, with an error that names the cure. Ctrl-C or SIGTERM: nobody else is let in,
those who are there get their last texts; a second one cuts them off.

A server that is behind lets nobody in, and ends sessions rather than serve all of them
late. Web pages of others may use it where --allow-origin names them. Tokens and
encryption are options; see espnet_smoe/serve/README.md.
"""

import argparse
import asyncio
import logging
import signal
import ssl
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_smoe.command import MODEL_HELP, new_parser, positive, run_command
from espnet_smoe.inference.streaming.options import add_options, given_options
from espnet_smoe.plugins import import_extra
from espnet_smoe.serve.access import TOKEN, Access, read_tokens
from espnet_smoe.serve.limits import Limits, flag_of

if TYPE_CHECKING:
    from espnet_smoe.serve.server import Server

PORT = 8765
# of `app.DIALECTS`, which cannot be imported before the packages are known to be there
PROTOCOLS = ("espnet-smoe", "realtime", "sherpa-onnx", "wenet")
LARGEST_PORT = 65535
LISTENING = "listening at"
NEEDED = ("uvicorn", "starlette", "python_multipart", "prometheus_client", "websockets")
LIMITS_HELP = {
    "sessions": "streams at the same time",
    "requests": "recordings at the same time",
    "per_client": "of both, of one token or address; inf: no limit",
    "seconds": "seconds of audio a session or recording; inf: no limit",
    "upload": "bytes of a request",
    "wait": "seconds that the recordings before a new one may take; else it is refused",
    "backlog": "seconds of audio a session that may wait for the model",
    "duration": "seconds that a session or an upload may last; inf: no limit",
    "idle": "seconds that a client may send no audio, or not read",
    "frames": "frames a second that are read of a client, pings included",
    "bytes": "bytes a second that are read of the client of a session",
    "lag": "seconds that the model may be late and sessions still be let in; at twice "
    "as much sessions are ended; inf: never",
    "memory": "GB that the server may take and still let anybody in; inf: no limit",
    "grace": "seconds that clients have to finish in when the server stops",
}


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"'{text}' is not from 0 to {LARGEST_PORT}")
    return int(text)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("espnet-smoe serve", __doc__)
    add = parser.add_argument
    add(
        "--model",
        required=True,
        action="append",
        metavar="[NAME=]PATH",
        help=f"{MODEL_HELP}; once for each. Clients call it by NAME (default: that of "
        "the file or folder), and get the first one where they name none",
    )
    add(
        "--config",
        action="append",
        default=[],
        help="decoding YAML for recordings; none, or one for each model",
    )
    add("--host", default="127.0.0.1", help="0.0.0.0 for all (default: %(default)s)")
    add("--port", type=_port, default=PORT, help="0: any free (default: %(default)s)")
    add(
        "--protocol",
        choices=PROTOCOLS,
        default=PROTOCOLS[0],
        help="of websockets at paths other than /v1/realtime, /sherpa-onnx, /wenet and "
        "/espnet-smoe (default: %(default)s)",
    )
    add("--device", default="cpu", help="such as cuda (default: %(default)s)")
    add("--threads", type=positive, default=1, help="of PyTorch (default: %(default)s)")
    add("--quiet", action="store_true", help="log faults, not each session")
    _add_access(parser.add_argument_group("access"))
    limits = parser.add_argument_group("limits")
    for limit in fields(Limits):
        limits.add_argument(
            flag_of(limit.name),
            type=limit.type,
            default=limit.default,
            metavar="N",
            help=f"{LIMITS_HELP[limit.name]} (default: %(default)s)",
        )
    add_options(parser)
    return parser


def _add_access(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="web pages that may use the server, such as https://example.org; once for "
        "each (default: none)",
    )
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which clients call the server, besides its addresses and the "
        "machine's own name; once for each",
    )
    add(
        "--token-file",
        metavar="FILE",
        help="tokens, one a line; a client sends one as 'Authorization: Bearer TOKEN'. "
        f"Those of the environment variable {TOKEN} count, too",
    )
    add("--tls-cert", metavar="FILE", help="certificate chain in PEM: serves HTTPS")
    add("--tls-key", metavar="FILE", help="its private key in PEM")


def check_installed() -> None:
    """Check that the packages of the server are there.

    Raises:
        ImportError: One is not; tells the extra to install.
    """
    for name in NEEDED:
        import_extra(name, "serve", "the server")


def certificate_of(args: argparse.Namespace) -> Sequence[str]:
    """Files of the certificate and its key, looked at before a model takes its time.

    Raises:
        ValueError: One of them is missing, or they do not belong together.
    """
    if not args.tls_cert and not args.tls_key:
        return ()
    if not args.tls_cert or not args.tls_key:
        raise ValueError("--tls-cert and --tls-key go together")
    for path in (args.tls_cert, args.tls_key):
        Path(path).read_bytes()
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.tls_cert, args.tls_key)
    except ssl.SSLError as error:
        raise ValueError(
            f"{args.tls_cert} and {args.tls_key} are no certificate and its key in PEM "
            f"({error.reason or error})"
        ) from error
    return args.tls_cert, args.tls_key


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal comes.

    Returns:
        0.
    """
    args = get_parser().parse_args(argv)
    limits = Limits(**{f.name: getattr(args, f"max_{f.name}") for f in fields(Limits)})
    tokens = read_tokens(args.token_file)
    access = Access(args.allow_origin, [args.host, *args.allow_host], tokens)
    options = given_options(args)
    certificate = certificate_of(args)
    check_installed()  # missing, they shall be told before the model takes its time
    level = logging.WARNING if args.quiet else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(message)s")
    for library in ("asyncio", "websockets", "uvicorn", "python_multipart"):
        logging.getLogger(library).setLevel(logging.ERROR)

    import torch

    from espnet_smoe.serve.models import load_models
    from espnet_smoe.serve.server import Server

    torch.set_num_threads(args.threads)
    models = load_models(args.model, options, args.device, args.config)
    server = Server(
        models, limits, access, certificate=certificate, protocol=args.protocol
    )
    asyncio.run(serve(server, args.host, args.port, "s" if certificate else ""))
    return 0


async def serve(server: "Server", host: str, port: int, secure: str = "") -> None:
    """Serve until SIGINT or SIGTERM; tell the addresses on standard output.

    Args:
        server: To run.
        host: Name or address to listen at.
        port: Number; 0 for any that is free.
        secure: ``s`` where it has a certificate.

    Raises:
        ValueError: `host` has no address.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)

    def started(port: int) -> None:
        place = f"{secure}://{host}:{port}"
        print(f"{LISTENING} http{place} and ws{place}", flush=True)

    await server.run(host, port, started)


if __name__ == "__main__":
    sys.exit(run_command(main))
