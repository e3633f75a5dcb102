"""`earshot serve`: a server for streams over websockets. Its flags are the fields of server.settings."""

import asyncio
from collections.abc import Iterator
from dataclasses import Field, fields
from inspect import Parameter, Signature
from typing import Annotated, Any, Literal, get_type_hints

import typer

from earshot_asr.server.settings import Limits, ServerConfig, Setting

EXAMPLES = """Examples:

  earshot serve

  earshot serve --model facebook/wav2vec2-base-960h --device cuda --latency low

  earshot serve --host 0.0.0.0 --allow-host captions.example --token-file tokens.txt \\
    --tls-cert cert.pem --tls-key key.pem

  EARSHOT_PORT=9000 EARSHOT_IDLE_SECONDS=600 earshot serve
"""


def serve(**values: Any) -> None:
    """Serve streams over websockets until Ctrl-C. SIGTERM lets open streams finish their utterance first.

    The same port serves the caption page at / (?overlay=1: for OBS and projectors; ?watch=NAME: for viewers), /healthz,
    /readyz, and /metrics for Prometheus. The protocol: server/PROTOCOL.md.

    Options can also be set in the environment, --idle-seconds as EARSHOT_IDLE_SECONDS. The command line wins.
    """
    from earshot_asr.server.app import build
    from earshot_asr.server.app import serve as run
    from earshot_asr.server.logs import configure

    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    limits = Limits(**{each.name: values.pop(each.name) for each in settings(Limits)})
    config = ServerConfig(limits=limits, **values)
    configure(as_json=config.log_format == "json")
    asyncio.run(run(build(config)))


def settings(of: type) -> Iterator[Field[Any]]:
    """The fields of a dataclass that are settings."""
    return (each for each in fields(of) if "setting" in each.metadata)


def options(of: type, panel: str | None = None) -> Iterator[Parameter]:
    """An option for each setting of a dataclass, under a heading of its own in `--help` if `panel` names one."""
    types = get_type_hints(of)
    for each in settings(of):
        known: Setting = each.metadata["setting"]
        flag = each.name.replace("_", "-")
        option = typer.Option(
            f"--{flag}/--no-{flag}" if types[each.name] is bool else f"--{flag}",
            help=known.help,
            envvar=f"EARSHOT_{each.name.upper()}",
            show_envvar=False,  # one sentence says it of all
            show_default=known.unset or True,
            metavar=known.metavar,
            rich_help_panel=panel,
            min=known.low,
            max=known.high,
        )
        repeatable = isinstance(each.default, tuple)
        default: Any = list(each.default) if isinstance(each.default, tuple) else each.default
        kind: Any = list[str] if repeatable else Literal[known.choices] if known.choices else types[each.name]
        annotation: Any = Annotated[kind, option]
        yield Parameter(each.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


serve.__signature__ = Signature([*options(ServerConfig), *options(Limits, "Limits")])  # type: ignore[attr-defined]
