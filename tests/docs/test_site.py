"""Pages of the site: where they lie, where their links lead, and that broken ones are found."""

from pathlib import Path, PurePosixPath

import griffe
import pytest

import check_site
import site_docstrings
import site_pages


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("docs/optimizer.md", "optimizer.md"),
        ("docs/notes/README.md", "notes/README.md"),
        ("docs/tutorials/replace_adam.py", "tutorials/replace_adam.md"),
        ("docs/tools/records.py", "source/docs/tools/records.py.md"),
        ("examples/own_task.py", "source/examples/own_task.py.md"),
        ("CITATION.cff", "source/CITATION.cff.md"),
        ("CHANGELOG.md", "source/CHANGELOG.md"),
        ("results/digits.json", "source/results/digits.json"),
    ],
)
def test_every_file_has_a_place_on_the_site(path: str, place: str) -> None:
    assert site_pages.place_of(PurePosixPath(path)) == PurePosixPath(place)


def test_links_lead_from_place_to_place() -> None:
    text = (
        "[a](../examples/own_task.py) [b](notes/README.md#x) [c](https://a.org/b) [d](#here) "
        "![e](figures/cost.svg) [f](tutorials/replace_adam.py)"
    )
    assert site_pages.relinked(text, PurePosixPath("docs/results.md")) == (
        "[a](source/examples/own_task.py.md) [b](notes/README.md#x) [c](https://a.org/b) "
        "[d](#here) ![e](figures/cost.svg) [f](tutorials/replace_adam.md)"
    )
    back = site_pages.relinked("[a](docs/zoo.md#b)", PurePosixPath("CONTRIBUTING.md"))
    assert back == "[a](../zoo.md#b)"


def test_what_pages_link_outside_docs_is_found_with_what_that_links() -> None:
    found = site_pages.linked_outside([PurePosixPath("docs/results.md")])
    assert PurePosixPath("results/README.md") in found  # linked by the page
    assert PurePosixPath("docs/tools/records.py") in found  # linked by results/README.md
    assert PurePosixPath("docs/field.md") not in found


def test_code_is_shown_under_its_path() -> None:
    page = site_pages.shown(PurePosixPath("docs/tools/site_hooks.py"))
    assert page.startswith("# docs/tools/site_hooks.py\n\n````py\n")


def test_a_script_becomes_a_page_of_text_code_and_output() -> None:
    cells = (
        "# %% [markdown]\n# # Title\n#\n# Text.",
        "# %%\nx = 1\nprint(x)",
        "# %% [markdown]\n# End.\n",
    )
    script = "\n\n".join(cells)
    assert site_pages.as_page(script, "1\n") == (
        "# Title\n\nText.\n\n```python\nx = 1\nprint(x)\n```\n\n## What it prints and draws\n\n"
        "```text\n1\n```\n\nEnd.\n"
    )


def problems(folder: Path, **pages: str) -> list[str]:
    for name, html in pages.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "index.html").write_text(html)
    return list(check_site.problems(folder))


def test_a_site_whose_links_lead_somewhere_has_no_problems(tmp_path: Path) -> None:
    a = '<a href="../b/#here">b</a><a href="https://a.org/none">far</a><a href="#top" id="top">'
    assert problems(tmp_path, a=a, b='<h2 id="here">') == []


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="../none/">', "../none/ leads to nothing"),
        ('<img src="none.png" alt="x">', "none.png leads to nothing"),
        ('<a href="../b/#there">', "../b/#there leads to no such place"),
        ('<a href="#there">', "#there leads to no such place"),
        ('<img src="../b/index.html">', "has no text in its place"),
    ],
)
def test_what_leads_nowhere_is_a_problem(tmp_path: Path, html: str, problem: str) -> None:
    (found,) = problems(tmp_path, a=html, b='<h2 id="here">')
    assert found.startswith("a/index.html: ")
    assert problem in found


def test_main_and_other_arguments_are_parameters(tmp_path: Path) -> None:
    (tmp_path / "demo.py").write_text(
        "def f(x: int, y: int) -> None:\n"
        '    """Does it.\n\n    Main arguments:\n        x: First.\n\n'
        '    Other arguments:\n        y: Second.\n    """\n'
    )
    extensions = griffe.load_extensions(site_docstrings.MainArguments)
    module = griffe.load("demo", search_paths=[tmp_path], extensions=extensions)
    sections = module["f"].docstring.parse("google")
    assert [section.kind.value for section in sections[1:]] == ["parameters", "other parameters"]
