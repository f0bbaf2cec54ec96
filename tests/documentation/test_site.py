"""The documentation site: no page is left out or repeated, and the commands and links of its pages exist."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest

import backtest_mongo
from backtest_mongo.core.config import Config
from tests.support.commands import get_group
from tools import slots_page

ROOT = Path(backtest_mongo.__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
COMMANDS = sorted(
    {
        line.partition(" && ")[2] or line
        for page in PAGES
        for block in re.findall(r"^ *```console\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)
        for line in map(str.strip, block.replace("\\\n", " ").splitlines())
        if "backtest-mongo " in line.split("#")[0] and not line.startswith("pip")
    }
)


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text()
    listed = {line for block in re.findall(r"```{toctree}(.*?)```", index, re.DOTALL) for line in block.splitlines()}
    assert {page.stem for page in DOCS.glob("*.md")} - {"index"} <= listed


def test_landing_page_says_how_to_install() -> None:
    assert "```console\npip install ." in (DOCS / "index.md").read_text()


def test_no_paragraph_is_on_two_pages() -> None:
    where: dict[str, set[str]] = {}
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for paragraph in re.split(r"\n\s*\n|\n(?=[-|]|\d+\. )", text):
            words = " ".join(paragraph.split())
            if len(words) > 150:
                where.setdefault(words, set()).add(page.name)
    # Both say what the software is: one to those who see the repository, one to those who see the site.
    allowed = [{"README.md", "index.md"}]
    assert {words: pages for words, pages in where.items() if len(pages) > 1 and pages not in allowed} == {}


def _anchors(page: Path) -> set[str]:
    """Return the anchors that a repository's viewer gives to the headings of a page."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_exist(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith(("http://", "https://")):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in _anchors(target), link


def test_page_of_the_slots_matches_the_table() -> None:
    assert slots_page.PAGE.read_text() == slots_page.page()
    assert all(f"### {spec.name}\n" in slots_page.page() for spec in backtest_mongo.SLOTS)


def test_page_of_the_configuration_has_every_field_and_its_default() -> None:
    page = (DOCS / "configuration.md").read_text()
    for name, field in Config.model_fields.items():
        (line,) = [line for line in page.splitlines() if line.startswith("| ") and f"`{name}`" in line.split("|")[1]]
        default = field.default
        shown = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        text = {"": "empty", True: "`true`", False: "`false`"}.get(shown) if isinstance(shown, str | bool) else None
        assert (text or f"`{shown}`") in line, name


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_a_page_exists(command: str) -> None:
    words = shlex.split(command, comments=True)
    words = words[words.index("backtest-mongo") + 1 :]
    group = get_group()
    while words and hasattr(group, "commands") and not words[0].startswith("-"):
        assert words[0] in group.commands, command
        group = group.commands[words.pop(0)]
    options = {option for parameter in group.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("-") and len(word) > 1} <= options


def test_api_page_has_every_public_name() -> None:
    pages = "".join((DOCS / f"{name}.md").read_text() for name in ("api", "adapters", "contracts", "errors"))
    for name in backtest_mongo.__all__:
        assert re.search(rf"\b{name}\b", pages), name
        assert inspect.getdoc(getattr(backtest_mongo, name)), name
