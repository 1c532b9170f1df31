"""MkDocs hooks that publish files of the repository as pages of the site.

README.md becomes the home page and the manifest the gallery. Model cards, benchmark pages and notebooks are included
unchanged, so that no text is stored twice.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from medzoo.zoo.manifest import input_size

ROOT = Path(__file__).parents[1]
# (folder in the repository, folder on the site)
INCLUDED = (("medzoo/zoo/weights", "presets"), ("benchmarks", "benchmarks"), ("notebooks", "notebooks"))
SUFFIXES = (".md", ".png", ".ipynb")
# Pages of the site that are generated from a file elsewhere in the repository.
GENERATED = {"index.md": "README.md", "gallery.md": "README.md", "contributing.md": "CONTRIBUTING.md"}


def on_files(files: Any, config: Any) -> Any:
    """Add the included files, the home page, the contributing guide and the gallery to the files of the site."""

    def add(uri, **content):
        files.append(File.generated(config, uri, **content))

    for source, site in INCLUDED:
        for path in sorted((ROOT / source).rglob("*")):
            if path.suffix in SUFFIXES:
                relative = path.relative_to(ROOT / source).as_posix()
                if path.suffix == ".md":
                    add(f"{site}/{relative}", content=path.read_text(encoding="utf-8"))
                else:
                    add(f"{site}/{relative}", abs_src_path=str(path))
    for uri in ("index.md", "contributing.md"):
        add(uri, content=(ROOT / GENERATED[uri]).read_text(encoding="utf-8"))
    manifest = json.loads((ROOT / "weights_manifest.json").read_text(encoding="utf-8"))
    add("gallery.md", content=_gallery(manifest["presets"]))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrite links between files of the repository to links between pages of the site."""
    source = _source(page.file.src_uri)

    def rewrite(match):
        target = match[2]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, mark, anchor = target.partition("#")
        path = _site(posixpath.normpath(posixpath.join(posixpath.dirname(source), path)))
        if path.startswith(("http:", "https:")):
            return f"{match[1]}({path})"
        return f"{match[1]}({posixpath.relpath(path, posixpath.dirname(page.file.src_uri) or '.')}{mark}{anchor})"

    # The third alternative is the target of a linked image, `[![text](image)](target)`.
    return re.sub(r"(\[[^\]]*\]|!\[[^\]]*\]|(?<=\))\])\(([^)\s]+)\)", rewrite, markdown)


def _source(uri):
    """Return the path in the repository from which a page of the site is generated."""
    if uri in GENERATED:
        return GENERATED[uri]
    for source, site in INCLUDED:
        if uri.startswith(site + "/"):
            return source + uri[len(site) :]
    return f"docs/{uri}"


def _site(path):
    """Return the path on the site of a file of the repository, or its URL if it is not part of the site."""
    for uri in ("index.md", "contributing.md"):
        if path == GENERATED[uri]:
            return uri
    for source, site in (*INCLUDED, ("docs", ".")):
        if (path == source or path.startswith(source + "/")) and path.endswith(SUFFIXES):
            return posixpath.normpath(site + path[len(source) :])
    return f"https://github.com/medzoo/medzoo/blob/main/{path}"


def _gallery(presets):
    """Return the gallery page: figure, size and results of every preset."""
    parts = [
        "# Gallery",
        "Each figure shows images that a preset generated or reconstructed. No image depicts a real patient. Each name "
        "links to the model card.",
    ]
    for name, entry in presets.items():
        folder = f"medzoo/zoo/weights/{name}"
        psnr, ssim = (entry["metrics"][key]["mean"] for key in ("psnr", "ssim"))
        parts += [
            f"## [{name}]({folder}/README.md)",
            f"{entry['family']} for {entry['domain']}; input {input_size(entry)}, latents "
            f"{'×'.join(map(str, entry['latent_shape']))}. Test split: PSNR {psnr:.2f} dB, SSIM {ssim:.3f}. "
            f"License: {entry['license']}.",
            f"![Images of {name}]({folder}/samples.png)",
            f'```python\nmodel = medzoo.load("{name}")\n```',
        ]
    return "\n\n".join(parts) + "\n"
