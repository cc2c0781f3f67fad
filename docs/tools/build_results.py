"""Makes pages of results, and tables of the README and of the first page: `make results`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import tables
from figures import write_figures
from meta_train.evaluation import write_page
from records import RESULTS, ROOT, Record, read_records

PAGE = ROOT / "docs" / "results.md"
CASES = ROOT / "docs" / "cases.md"
FIELD = ROOT / "docs" / "field.md"
EVALUATION = RESULTS / "evaluations" / "field.json"
README = ROOT / "README.md"
SHOWN = {  # in the README and on the page, by their names in the field
    "MLP 784-512-512-10, Fashion-MNIST": "fashion-mlp-512",
    "ResNet, EMNIST": "emnist-resnet",
    "ConvNeXt blocks, Fashion-MNIST": "fashion-convnext",
    "vision transformer, Fashion-MNIST": "fashion-vit",
    "character GPT, width 64, source code": "code-gpt-64",
    "character GPT, width 256, source code": "code-gpt-256",
    "GRU, speakers of vowels": "vowels-gru",
    "table with embeddings, forest cover": "forest-mlp-embeddings",
    "regression 8-32-1, sum of sines": "sines-8-32-1-1500",
    "SIREN, a photograph": "photo-siren",
    "Poisson equation": "poisson-tanh",
    "diffusion, pieces of a photograph": "photo-diffusion",
}
DEMO = RESULTS / "evaluations" / "demo.json"
START = ROOT / "docs" / "index.md"
IN_DEMO = {"MLP": "digits-mlp", "CNN": "digits-cnn", "character GPT": "manual-gpt"}
MARKS = ("<!-- made by `make results` -->\n", "<!-- end -->\n")


def make_page(records: dict[str, Record], field: dict[str, Any]) -> str:
    """The page as Markdown: the template's words around tables of records and of the field."""
    suites = [record for name, record in records.items() if name.startswith("suite-")]
    names = {name.replace("-", "_"): record for name, record in records.items()}
    return _render(
        "results.md.jinja", **names, records=records, field=field, suites=suites, shown=SHOWN
    )


def make_cases(record: Record) -> str:
    """The page of cases as Markdown."""
    return _render("cases.md.jinja", cases=record)


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values, tables=tables)


def fill_readme(text: str, evaluation: dict[str, Any]) -> str:
    """The README with its table of wins and losses as the evaluation has it."""
    contenders = ("shipped", "untrained", "muon", "schedule-free")
    return _fill(text, tables.ends(evaluation, SHOWN, contenders, over="adamw"))


def fill_start(text: str, demo: dict[str, Any]) -> str:
    """The first page of the documentation with the table of the demo."""
    return _fill(text, tables.beside_adam(demo, IN_DEMO))


def _fill(text: str, table: str) -> str:
    return re.sub("(?<={})(.*?)(?={})".format(*MARKS), f"{table}\n", text, flags=re.DOTALL)


if __name__ == "__main__":
    written = read_records()
    field = json.loads(EVALUATION.read_text())
    PAGE.write_text(make_page(written, field))
    CASES.write_text(make_cases(written["cases"]))
    README.write_text(fill_readme(README.read_text(), field))
    START.write_text(fill_start(START.read_text(), json.loads(DEMO.read_text())))
    write_figures(written, field)
    write_page(field, FIELD)
