"""MkDocs hooks: what is written elsewhere in the repository becomes pages, and is not written twice.

README.md is the home page, the manifest the gallery, presets' cards and benchmarks' pages are taken as they are.
"""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

from medzoo.zoo.manifest import input_size

ROOT = Path(__file__).parents[1]
# (folder in the repository, folder on the site)
TAKEN = (("medzoo/zoo/weights", "presets"), ("benchmarks", "benchmarks"), ("notebooks", "notebooks"))
SHIPPED = (".md", ".png", ".ipynb")


def on_files(files, config):
    def add(where, **content):
        files.append(File.generated(config, where, **content))

    for source, site in TAKEN:
        for path in sorted((ROOT / source).rglob("*")):
            if path.suffix in SHIPPED:
                own = path.relative_to(ROOT / source).as_posix()
                if path.suffix == ".md":
                    add(f"{site}/{own}", content=path.read_text(encoding="utf-8"))
                else:
                    add(f"{site}/{own}", abs_src_path=str(path))
    add("index.md", content=(ROOT / "README.md").read_text(encoding="utf-8"))
    add(
        "gallery.md",
        content=_gallery(json.loads((ROOT / "weights_manifest.json").read_text(encoding="utf-8"))["presets"]),
    )
    return files


def on_page_markdown(markdown, page, config, files):
    """Links of the repository's own files lead to where these are on the site."""
    source = _source(page.file.src_uri)

    def moved(match):
        target = match[2]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, mark, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        return (
            f"{match[1]}({posixpath.relpath(_site(path), posixpath.dirname(page.file.src_uri) or '.')}{mark}{anchor})"
        )

    return re.sub(r"(\[[^\]]*\]|!\[[^\]]*\])\(([^)\s]+)\)", moved, markdown)


def _source(uri):
    """Where in the repository a page of the site comes from."""
    if uri in ("index.md", "gallery.md"):
        return "README.md"
    for source, site in TAKEN:
        if uri.startswith(site + "/"):
            return source + uri[len(site) :]
    return f"docs/{uri}"


def _site(path):
    """Where on the site a file of the repository is."""
    if path == "README.md":
        return "index.md"
    for source, site in (*TAKEN, ("docs", ".")):
        if path == source or path.startswith(source + "/"):
            return posixpath.normpath(site + path[len(source) :])
    return path


def _gallery(presets):
    parts = ["# Gallery", "Every preset, with its own drawings: no patients. The name leads to the card."]
    for name, entry in presets.items():
        folder = f"medzoo/zoo/weights/{name}"
        psnr, ssim = (entry["metrics"][key]["mean"] for key in ("psnr", "ssim"))
        parts += [
            f"## [{name}]({folder}/README.md)",
            f"{entry['family']} of {entry['subject']}; input {input_size(entry)}, "
            f"latents {' × '.join(map(str, entry['latent_shape']))}. Test images: PSNR {psnr:.2f} dB, SSIM {ssim:.3f}. "
            f"Licence: {entry['licence']}.",
            f"![{name}]({folder}/samples.png)",
            f'```python\nmodel = medzoo.load("{name}")\n```',
        ]
    return "\n\n".join(parts) + "\n"
