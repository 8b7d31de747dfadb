"""The ``pairmill`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pairmill.runners.dataset_commands import add_dataset_commands
from pairmill.runners.places import open_folder, place
from pairmill.runners.report_command import add_report
from pairmill.runners.runner_arguments import (
    add_runner_arguments,
    add_worker_pool,
    choice_of,
    split_beam_options,
)
from pairmill.sharding.errors import PairmillError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code: 0 done, 1 failed, 2 used wrongly."""
    parser = _parser()
    words, beam_options = split_beam_options(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    if beam_options:
        arguments.beam_options = beam_options
    try:
        return int(arguments.command(arguments))
    except PairmillError as error:
        print(f"pairmill: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a full disk, most of all, between the steps
        where = f"{error.filename}: " if error.filename else ""
        told = f"{where}{error.strerror or error}; mend that and run the same command again"
        print(f"pairmill: {told}: finished blocks are kept", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "pairmill":
            raise
        print(f"pairmill: the package {error.name!r} is missing; pip install 'pairmill[run]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pairmill: stopped; run the same command again to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pairmill", description="From a pool of image-text pairs to indexed shards.")
    commands = parser.add_subparsers(title="commands", required=True)
    _add_run(commands)
    demo = commands.add_parser("demo", help="draw a small pool, serve it on loopback, and make a dataset of it")
    demo.add_argument("out", type=Path, metavar="BUILD", help="the build folder")
    demo.add_argument("--rows", type=int, default=1000, help="pairs in the pool (default: 1000)")
    demo.add_argument("--workers", type=int, default=1)
    demo.set_defaults(command=_demo)
    validate = commands.add_parser("validate", help="check a recipe and its pool, and do nothing")
    validate.add_argument("recipe")
    validate.add_argument("--pool")
    validate.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    validate.set_defaults(command=_validate)
    status = commands.add_parser("status", help="tell how far a build is")
    status.add_argument("build", type=place, metavar="BUILD")
    status.set_defaults(command=_status)
    ledger = commands.add_parser("ledger", help="list the verdict of every pool row, with its uid, url and caption")
    ledger.add_argument("build", type=place, metavar="BUILD")
    ledger.add_argument("--reason", help="only rows with this reason, or kept")
    ledger.add_argument("--all-reasons", action="store_true", help="every rule that a row fails (recipe: all_reasons)")
    ledger.add_argument("--limit", type=int, help="only the first so many rows")
    ledger.add_argument("--to", type=Path, metavar="FILE", help="a .csv or .parquet file (default: CSV to the screen)")
    ledger.set_defaults(command=_ledger)
    subset = commands.add_parser(
        "subset", help="write the uids of a build's samples as DataComp's resharder takes them"
    )
    subset.add_argument("build", type=Path, metavar="BUILD")
    subset.add_argument("--out", required=True, type=Path, metavar="FILE", help="the .npy file to write")
    subset.add_argument("--split", metavar="NAME", help="only this split (default: all)")
    subset.add_argument("--once", action="store_true", help="each pair once, however often a mixture writes it")
    subset.set_defaults(command=_subset)
    _add_diff(commands)
    add_report(commands)
    _add_search(commands)
    _add_eval_set(commands)
    train = commands.add_parser("train-text-classifier", help="train a classifier of captions from two text files")
    train.add_argument("positives", type=Path, metavar="POSITIVES", help="captions to score high, one a line")
    train.add_argument("negatives", type=Path, metavar="NEGATIVES", help="captions to score low, one a line")
    train.add_argument("--out", required=True, type=Path, metavar="FILE", help="where the model goes")
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(command=_train_text_classifier)
    add_dataset_commands(commands)
    add_worker_pool(commands)
    _add_translate_table(commands)
    recipes = commands.add_parser("recipes", help="list the shipped recipes, or the rules")
    recipes.add_argument("--rules", action="store_true", help="list the rules with their reasons and sources")
    recipes.set_defaults(command=_recipes)
    return parser


def _add_diff(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    diff = commands.add_parser("diff", help="tell which pairs came in, went out, or have another reason, from A to B")
    diff.add_argument("first", type=Path, metavar="A")
    diff.add_argument("second", type=Path, metavar="B")
    diff.add_argument("--rows", type=Path, metavar="FILE", help="write the pairs that differ to this .parquet file")
    diff.add_argument("--json", action="store_true", help="print one JSON object")
    diff.set_defaults(command=_diff)


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="make a dataset from a recipe; the same command resumes")
    run.add_argument("recipe", help="a recipe file, or the name of a shipped recipe (see: pairmill recipes)")
    run.add_argument("--out", required=True, type=place, metavar="BUILD", help="the build folder, or s3://, gs:// URL")
    run.add_argument("--work", type=place, help="the work folder, shared by builds of one pool (default: BUILD/work)")
    run.add_argument("--pool", help="the pool, in place of the recipe's pool.path")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a key of the recipe")
    run.add_argument(
        "--against", action="append", default=[], type=Path, metavar="BUILD", help="leave out what this build kept"
    )
    run.add_argument(
        "--steps",
        choices=("all", "select", "fetch", "score", "words"),
        default="all",
        help="select: decide what the pool's own columns tell, write ledger and uids, and fetch nothing; fetch, score, "
        "words: stop behind the fetch, the scores of images, the texts that models write",
    )
    run.add_argument("--no-space-check", action="store_true", help="start although the disk looks too small")
    run.add_argument(
        "--min-free",
        metavar="SIZE",
        help="stop with so much left on a disk (default: 1 %% of it, at most 5GB; 0: never)",
    )
    run.add_argument(
        "--spool",
        default="keep",
        metavar="keep|drop|cap:SIZE",
        help="what becomes of the stored images once the dataset is there (default: keep, for later builds)",
    )
    run.add_argument("--publish", metavar="URL", help="copy the dataset to a store when it is done (see: publish)")
    run.add_argument("--quiet", action="store_true", help="no progress bar and no table")
    add_runner_arguments(run)
    run.set_defaults(command=_run)


def _add_search(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    search = commands.add_parser("search", help="show the pairs of a build that are nearest to a text or an image")
    search.add_argument("build", type=Path, metavar="BUILD")
    text = search.add_argument("text", metavar="[TEXT]", help="what to look for, in words")
    text.required = False  # nargs="?" would not let options stand between BUILD and TEXT
    search.add_argument("--image", type=Path, metavar="FILE", help="what to look for, as a picture")
    search.add_argument("--top", type=int, default=10, metavar="K", help="how many pairs (default: 10)")
    search.add_argument("--model", help="the scorer's model, if it is no longer where the build had it")
    search.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    search.add_argument("--exact", action="store_true", help="look at every row, even if there is an index")
    search.add_argument("--save", type=Path, metavar="FOLDER", help="write the images and a page of them there")
    search.add_argument("--json", action="store_true", help="print one JSON object")
    search.set_defaults(command=_search)
    index = commands.add_parser("index", help="make the nearest-neighbour index of a large build, for faster searches")
    index.add_argument("build", type=Path, metavar="BUILD")
    index.set_defaults(command=_index)
    for command in (search, index):
        command.add_argument("--scorer", metavar="NAME", help="whose embeddings, if the build has several scorers'")
        command.add_argument("--in", dest="kind", metavar="KIND", help="image, text, … (default: image)")


def _add_translate_table(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    table = commands.add_parser("translate-table", help="translate the caption file of an evaluation set")
    table.add_argument(
        "table", type=Path, metavar="FILE", help="COCO's JSON, other .json, .jsonl, .csv, .tsv, .parquet"
    )
    table.add_argument("--to", required=True, metavar="LANG", help="the language to translate into, such as de")
    table.add_argument("--model", required=True, help="a translator: a folder, or an id on the hub; a server's model")
    table.add_argument("--server", metavar="URL", help="a chat server translates; what stands before /chat/completions")
    table.add_argument("--api-key-env", default="", metavar="NAME", help="the environment variable with its key")
    table.add_argument("--out", required=True, type=Path, metavar="FILE", help="the translated table")
    table.add_argument("--source", metavar="LANG", help="the captions' language (default: a column lang, or found out)")
    table.add_argument("--engine", choices=("ctranslate2", "transformers"), default="ctranslate2")
    table.add_argument("--tokenizer", metavar="FOLDER", help="the tokenizer, if the model's folder lacks it")
    table.add_argument("--caption", metavar="COLUMN", help="the column of captions (default: caption)")
    table.add_argument("--id", dest="row_id", metavar="COLUMN", help="what failures are listed by (default: id)")
    table.add_argument("--into", metavar="COLUMN", help="a new column for the translations; captions stay")
    table.add_argument("--keep-original", action="store_true", help="where there is no translation, keep the caption")
    table.add_argument("--beam-size", type=int, default=1, metavar="N", help="translations looked at (default: 1)")
    table.add_argument("--threads", type=int, metavar="N", help="default: one a core")
    table.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    table.add_argument("--quiet", action="store_true", help="no progress bar and no numbers")
    table.set_defaults(command=_translate_table)


def _add_eval_set(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    table = commands.add_parser("eval-set", help="make a table of an evaluation set, to share it without its pictures")
    table.add_argument("folder", type=Path, metavar="FOLDER", help="images (captions beside them as .txt), or tars")
    table.add_argument("--out", required=True, type=Path, metavar="FILE", help="the .parquet file to write")
    table.add_argument("--recipe", help="stores pictures as this recipe does (default: as the default recipe)")
    table.add_argument("--scorer", metavar="NAME", help="also embed the pictures with this clip of the recipe")
    table.add_argument("--no-captions", action="store_true", help="leave the captions out")
    table.add_argument("--quiet", action="store_true", help="no progress bar")
    table.set_defaults(command=_eval_set)


def _run(arguments: argparse.Namespace) -> int:
    from pairmill.runners.run_command import run_recipe

    return run_recipe(
        recipe=arguments.recipe,
        out=arguments.out,
        work=arguments.work,
        pool=arguments.pool,
        settings=tuple(arguments.set),
        against=tuple(arguments.against),
        runner=choice_of(arguments),
        check_space=not arguments.no_space_check,
        quiet=arguments.quiet,
        steps=arguments.steps,
        spool=arguments.spool,
        min_free=arguments.min_free,
        publish_to=arguments.publish,
    )


def _demo(arguments: argparse.Namespace) -> int:
    from pairmill.runners.demo_command import run_demo

    return run_demo(arguments.out, arguments.rows, arguments.workers)


def _validate(arguments: argparse.Namespace) -> int:
    from pairmill.runners.run_command import validate_recipe

    return validate_recipe(arguments.recipe, arguments.pool, tuple(arguments.set))


def _status(arguments: argparse.Namespace) -> int:
    from pairmill.runners.look_commands import show_status

    return show_status(open_folder(arguments.build))


def _ledger(arguments: argparse.Namespace) -> int:
    from pairmill.runners.look_commands import show_ledger

    build = open_folder(arguments.build)
    return show_ledger(build, arguments.reason, arguments.limit, arguments.to, arguments.all_reasons)


def _subset(arguments: argparse.Namespace) -> int:
    from pairmill.runners.subset_command import write_build_subset

    return write_build_subset(arguments.build, arguments.out, arguments.split, arguments.once)


def _diff(arguments: argparse.Namespace) -> int:
    from pairmill.runners.diff_command import diff_builds

    return diff_builds(arguments.first, arguments.second, arguments.rows, arguments.json)


def _search(arguments: argparse.Namespace) -> int:
    from pairmill.runners.search_command import search_pairs

    return search_pairs(
        build=arguments.build,
        text=arguments.text,
        image=arguments.image,
        top=arguments.top,
        scorer=arguments.scorer,
        kind=arguments.kind,
        model=arguments.model,
        device=arguments.device,
        exact=arguments.exact,
        save=arguments.save,
        as_json=arguments.json,
    )


def _eval_set(arguments: argparse.Namespace) -> int:
    from pairmill.runners.eval_set_command import make_eval_set

    return make_eval_set(
        folder=arguments.folder,
        out=arguments.out,
        recipe=arguments.recipe,
        scorer=arguments.scorer,
        captions=not arguments.no_captions,
        quiet=arguments.quiet,
    )


def _train_text_classifier(arguments: argparse.Namespace) -> int:
    from pairmill.runners.train_text_classifier_command import train_classifier

    return train_classifier(arguments.positives, arguments.negatives, arguments.out, arguments.seed)


def _index(arguments: argparse.Namespace) -> int:
    from pairmill.runners.search_command import index_embeddings

    return index_embeddings(arguments.build, arguments.scorer, arguments.kind)


def _translate_table(arguments: argparse.Namespace) -> int:
    from pairmill.runners.translate_table_command import translate_captions

    named = {name: value for name, value in vars(arguments).items() if name != "command"}
    return translate_captions(**named)


def _recipes(arguments: argparse.Namespace) -> int:
    if arguments.rules:
        from pairmill.pipeline.recipe_rules import describe_rules

        print("\n".join(describe_rules()))
        return 0
    from pairmill.pipeline.recipe_file import SHIPPED, read_yaml, shipped_recipes

    for name in shipped_recipes():
        print(f"{name}: {read_yaml(SHIPPED / f'{name}.yaml').get('description', '')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
