"""What the benchmarks share: their numbers as JSON, the same as a Markdown page with a figure."""

import json

from medzoo.evaluate.markdown import table


def write(out, title, command, text, tables, facts):
    """Writes OUT.json and OUT.md; the page shows OUT.png, which the benchmark draws itself.

    Args:
        out: path without an ending.
        title, text: of the page; paragraphs in Markdown.
        command: that makes all of it.
        tables: list of `(heading, header, rows)`.
        facts: for the JSON file.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps({"command": command, **facts}, indent=1) + "\n", encoding="utf-8")
    parts = [f"# {title}", text, f"Made by `{command}`.", f"![{title}]({out.name}.png)"]
    for heading, header, rows in tables:
        parts += [f"## {heading}"] if heading else []
        parts.append(table(header, rows))
    out.with_suffix(".md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
