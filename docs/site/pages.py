#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Collects the pages of the site: pages.py ROOT OUTPUT

The documents link each other, and files of the project, as they do in a checkout. Here each linked source becomes a page
of its own, and a linked folder a page that lists its files. A link to something that is not there is an error.
"""
import os
import posixpath
import re
import shutil
import sys

ROOT, OUTPUT = sys.argv[1:3]
LANGUAGES = {".cpp": "cpp", ".hpp": "cpp", ".py": "python", ".sh": "bash", ".json": "json", ".yml": "yaml",
             ".txt": "cmake", ".cmake": "cmake", ".pml": "c"}
IMAGES = (".png", ".svg")

pages = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md",
         "bench/RESULTS.md": "bench/results.md"}
for folder, _, names in os.walk(os.path.join(ROOT, "docs")):
    for name in names:
        path = posixpath.join(os.path.relpath(folder, ROOT), name)
        if name.endswith(".md"):
            pages[path] = posixpath.relpath(path, "docs")
sources = {}  # path of a file or folder: its page
waiting = []


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def write(page, text):
    target = os.path.join(OUTPUT, page)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "w", encoding="utf-8") as file:
        file.write(text)


def page_of(path):
    """The page of a document, a source or a folder."""
    if path in pages:
        return pages[path]
    if path not in sources:
        # A name without a dot: mkdocs takes .html for a page and leaves out what begins with a dot.
        sources[path] = f"source/{path}.md"
        waiting.append(path)
    return sources[path]


def link(target, document):
    """A target as a document has it, as the document's page has it."""
    if re.match(r"[a-z]+:|#", target):
        return target
    path, hash_, fragment = target.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(document), path))
    if not os.path.exists(os.path.join(ROOT, path)):
        sys.exit(f"{document}: there is no {path}")
    if path.endswith(IMAGES):
        page = path
        os.makedirs(os.path.join(OUTPUT, posixpath.dirname(path)), exist_ok=True)
        shutil.copy(os.path.join(ROOT, path), os.path.join(OUTPUT, path))
    else:
        page = page_of(path)
    return posixpath.relpath(page, posixpath.dirname(page_of(document)) or ".") + hash_ + fragment


def rewrite(document):
    """The text of a document, with links between pages. Code has none."""
    parts = re.split(r"(^```.*?^```$|`[^`\n]+`)", read(document), flags=re.MULTILINE | re.DOTALL)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"(\]\()([^)\s]+)(\))", lambda match: match[1] + link(match[2], document) + match[3], parts[i])
    return "".join(parts)


def source_page(path):
    full = os.path.join(ROOT, path)
    if not os.path.isdir(full):
        language = LANGUAGES.get(os.path.splitext(path)[1], "text")
        return f"# {path}\n\n````{language}\n{read(path)}````\n"
    lines = [f"# {path}/\n"]
    for name in sorted(os.listdir(full)):
        inner = posixpath.join(path, name)
        is_text = os.path.splitext(name)[1] in LANGUAGES or name.endswith(".md")
        if os.path.isfile(os.path.join(ROOT, inner)) and is_text and name != "CMakeLists.txt":
            lines.append(f"* [{name}]({posixpath.relpath(page_of(inner), posixpath.dirname(page_of(path)))})"
                         + summary(inner))
    return "\n".join(lines) + "\n"


def summary(path):
    """What a source says of itself: its first comment, up to the first full stop."""
    comment = []
    for line in read(path).splitlines()[:20]:
        text = re.fullmatch(r"(?://|#)(?!!) ?(.*)", line)
        if text and not text[1].startswith("SPDX"):
            comment.append(text[1])
        elif comment:
            break
    sentence = re.match(r"[^.]*(?:\.\w[^.]*)*\.(?=\s|$)", " ".join(comment))
    return f": {sentence[0]}" if sentence else ""


shutil.rmtree(OUTPUT, ignore_errors=True)
for document in pages:
    write(pages[document], rewrite(document))
for path in ("examples", "tools/kombu"):
    page_of(path)  # in the navigation
while waiting:
    path = waiting.pop()
    write(sources[path], source_page(path))
print(f"{len(pages)} pages, {len(sources)} sources")
