"""Makes all pages of results, and the README's table, from `results/`: `make results`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import tables
from figures import write_figures
from meta_train.evaluation import write_page
from records import RESULTS, ROOT, Record, read_records

PAGE = ROOT / "docs" / "results.md"
TEMPLATE = "results.md.jinja"
FIELD = ROOT / "docs" / "field.md"
EVALUATION = RESULTS / "evaluations" / "field-short.json"
README = ROOT / "README.md"
MARKS = ("<!-- made by `make results` -->\n", "<!-- end -->\n")


def make_page(records: dict[str, Record]) -> str:
    """The page as Markdown: the template's words around tables of the records."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    suites = [record for name, record in records.items() if name.startswith("suite-")]
    names = {name.replace("-", "_"): record for name, record in records.items()}
    return environment.get_template(TEMPLATE).render(
        names, records=records, suites=suites, tables=tables
    )


def fill_readme(text: str, records: dict[str, Record]) -> str:
    """The README with its table of wins and losses as the records have it."""
    columns = {m: ("end_loss", m) for m in ("shipped", "untrained", "Muon + AdamW")}
    table = tables.beside(records["peers"], columns)
    return re.sub("(?<={})(.*?)(?={})".format(*MARKS), f"{table}\n", text, flags=re.DOTALL)


if __name__ == "__main__":
    written = read_records()
    PAGE.write_text(make_page(written))
    README.write_text(fill_readme(README.read_text(), written))
    write_figures(written)
    write_page(json.loads(EVALUATION.read_text()), FIELD)
