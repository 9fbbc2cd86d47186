"""What the site has beside the pages in docs/: pages of other folders, references.

A page that another folder needs stands there alone and is read from there. Links go by
files of the repository, so that they also work where the files themselves are read.
A comment ``<!-- generate: NAME -->`` is replaced by what the function of that name in
`references` writes.
"""

import posixpath
import re
from pathlib import Path
from urllib.parse import urlsplit

import references
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {  # page -> file of the repository
    "server.md": "espnet_smoe/serve/README.md",
    "performance.md": "espnet_smoe/benchmark/README.md",
    "changes.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "examples.md": "examples/README.md",
}
DRIVERS = "egs2/TEMPLATE/README.md"
GENERATED = re.compile(r"<!-- generate: (\w+) -->")
LINK = re.compile(r"(?<!`)(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def recipe_pages() -> dict[str, str]:
    """The recipes' own pages: page -> file."""
    found = sorted(ROOT.glob("egs2/*/*/README.md")) + sorted(
        ROOT.glob("egs2/*/*/RESULTS*.md")
    )
    files = [path.relative_to(ROOT) for path in found]
    pages = {f"recipes/{Path(*f.parts[1:])}": str(f) for f in files}
    if (ROOT / DRIVERS).is_file():
        pages["recipes/drivers.md"] = DRIVERS
    return pages


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put what is found into the navigation: recipes, pages about extensions."""
    nav = {next(iter(item)): item for item in config.nav if isinstance(item, dict)}
    nav["Recipes"]["Recipes"] += _recipe_nav()
    extending = sorted(Path(config.docs_dir).glob("extend_*.md"))
    nav["Extending"]["Extending"] = [p.name for p in extending] + ["contributing.md"]
    return config


def _recipe_nav() -> list[dict]:
    folders: dict[str, list] = {}
    for page in recipe_pages():
        if page == "recipes/drivers.md":
            folders["The drivers"] = [{"Recipe": page}]
            continue
        _, corpus, task, name = page.split("/")
        title = {"README.md": "Recipe", "RESULTS.md": "Results"}.get(name)
        title = title or name.removesuffix(".md").replace("RESULTS_", "Results, ")
        folders.setdefault(f"{corpus}/{task}", []).append({title: page})
    return [
        {folder: pages} if len(pages) > 1 else {folder: pages[0]["Recipe"]}
        for folder, pages in folders.items()
    ]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are kept elsewhere."""
    for page, source in (ELSEWHERE | recipe_pages()).items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Fill in what is generated; let links lead to pages."""
    elsewhere = ELSEWHERE | recipe_pages()
    uri = page.file.src_uri
    source = elsewhere.get(uri, f"docs/{uri}")
    pages = {path: name for name, path in elsewhere.items()}

    def link(match: re.Match) -> str:
        picture, text, target = match.groups()
        parts = urlsplit(target)
        if parts.scheme or not parts.path:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), parts.path))
        if not (ROOT / path).exists():
            raise ValueError(f"{source}: a link leads to {path}, which is not there")
        name = pages.get(path) or path.removeprefix("docs/")
        if name == path:  # no page: what it is called has to do
            return text if path in text or "`" in text else f"{text} (`{path}`)"
        place = posixpath.relpath(name, posixpath.dirname(uri) or ".")
        anchor = f"#{parts.fragment}" if parts.fragment else ""
        return f"{picture}[{text}]({place}{anchor})"

    markdown = GENERATED.sub(lambda m: getattr(references, m[1])(), markdown)
    return LINK.sub(link, markdown)
