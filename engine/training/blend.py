"""`earshot train blend`: the mean of the weights of related models (model soups, Wortsman et al. 2022).

The mean of a model and of the same model trained further is often better than both: they tend to lie on two sides of
one minimum of the loss.
"""

import argparse
import textwrap
from pathlib import Path

import torch
from torch import Tensor

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.families import family_of
from earshot_asr.engine.files import read_json
from earshot_asr.engine.hub import locate
from earshot_asr.engine.training.export import DTYPES, write
from earshot_asr.engine.training.options import positive
from earshot_asr.engine.weights import read_tensors, weight_files, widened


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `earshot train blend`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.dedent("""\
        Averages the weights of a model and of versions of it that were trained further. They must have the same sizes
        and the same vocabulary. The average is often better than each of them.""")
    parser.epilog = textwrap.dedent("""\
        examples:
          earshot train blend OUT/model BEFORE --share 0.6 --share 0.4 --out BLEND
          earshot train blend OUT/model --dtype int8 --out SMALL      # half as large, for the engine alone""")
    parser.add_argument(
        "models",
        nargs="+",
        metavar="DIR|HUB_ID",
        help="two or more, or one with --dtype; config.json is that of the first",
    )
    parser.add_argument(
        "--dtype", choices=tuple(DTYPES), help="dtype of the weights (default: that of the first model)"
    )
    parser.add_argument(
        "--share", type=positive, action="append", help="share of each model, in order (default: equal shares)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")


def run(args: argparse.Namespace) -> None:
    """The command. Raises ConfigError, CheckpointError."""
    if len(args.models) < 2 and args.dtype is None:
        raise ConfigError("one model is no blend; give two or more, or --dtype to write it in another precision")
    shares = args.share or [1.0] * len(args.models)
    if len(shares) != len(args.models):
        raise ConfigError(f"{len(shares)} shares for {len(args.models)} models; give one for each, or none")
    if args.out.exists():
        raise ConfigError(f"{args.out} is there already; give a new folder")
    origins = [locate(model) for model in args.models]
    for origin in origins:
        family_of(read_json(origin.folder / "config.json"))  # raises an error before gigabytes are downloaded
    folders = [origin.with_weights().folder for origin in origins]
    blended = blend(folders, [share / sum(shares) for share in shares])
    settings = {path.name: read_json(path) for path in folders[0].glob("*.json") if not path.match("*.index.json")}
    write(args.out, blended, settings, args.dtype or dtype_of(folders[0]))
    models = "1 model" if len(folders) == 1 else f"{len(folders)} models"
    print(f"{args.out}: {models}, {len(blended)} tensors")


def dtype_of(folder: Path) -> str:
    """The dtype of a model's weights, one of export.DTYPES."""
    if read_json(folder / "config.json").get("earshot_weights"):
        return "int8"
    half = all(tensor.dtype == torch.float16 for tensor in read_tensors(weight_files(folder)).values())
    return "float16" if half else "float32"


def blend(folders: list[Path], shares: list[float]) -> dict[str, Tensor]:
    """The mean of the models' tensors by their shares, float32. Raises ConfigError if the models do not match."""

    def read(folder: Path) -> dict[str, Tensor]:
        return widened(read_tensors(weight_files(folder)), read_json(folder / "config.json"))

    (where, tensors), *others = ((folder, read(folder)) for folder in folders)
    symbols = read_json(where / "vocab.json")
    sums = {name: shares[0] * tensor.float() for name, tensor in tensors.items()}
    for (folder, more), share in zip(others, shares[1:], strict=True):
        odd = {name for name, tensor in tensors.items() if name not in more or more[name].shape != tensor.shape}
        if odd := odd | more.keys() - tensors.keys():
            raise ConfigError(f"{folder} is of another shape than {where}: {min(odd)}, for one, does not match")
        if read_json(folder / "vocab.json") != symbols:
            raise ConfigError(f"{folder} has another vocabulary than {where}")
        for name, tensor in more.items():
            sums[name] += share * tensor.float()
    return sums
