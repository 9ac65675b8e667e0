#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Checks a site without network: links.py SITE [TITLE CLICKS]

Each link within the site leads to a file, and to a place in it that exists. No page loads anything from elsewhere. The
page TITLE can be reached from the first one by CLICKS on what its tabs and its text show.
"""
import html.parser
import os
import re
import sys
import urllib.parse

SITE = os.path.abspath(sys.argv[1])
# Doxygen links the nested classes of a class also where all of them are private.
KNOWN = {("reference", "nested-classes")}


class Page(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.ids, self.title, self.shown = [], [], set(), "", []
        self.open, self.in_title = [], False
        with open(path, encoding="utf-8") as file:
            self.feed(file.read())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids.update(value for name in ("id", "name") if (value := values.get(name)))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
            if any(kind in ("md-tabs", "md-content") for kind in self.open):
                self.shown.append(values["href"])
        if tag != "a":  # whatever else refers to something loads it
            self.loads += [values[name] for name in ("src", "data", "poster", "href") if values.get(name)]
            self.loads += [part.split()[0] for part in (values.get("srcset") or "").split(",") if part.strip()]
        if tag in ("div", "nav"):
            self.open.append((values.get("class") or "").split(" ")[0])
        self.in_title |= tag == "h1"

    def handle_endtag(self, tag):
        if tag in ("div", "nav") and self.open:
            self.open.pop()
        if tag == "h1":
            self.in_title = False

    def handle_data(self, text):
        if self.in_title:
            self.title += text


def target(page, link):
    """The file of a link and the place in it; None when it leads elsewhere."""
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = os.path.normpath(os.path.join(os.path.dirname(page), urllib.parse.unquote(parts.path))) if parts.path else page
    return (os.path.join(path, "index.html") if os.path.isdir(path) else path), urllib.parse.unquote(parts.fragment)


pages, errors, checked = {}, [], 0
for folder, _, names in os.walk(SITE):
    for name in names:
        if name.endswith(".html") and name != "404.html":  # whose links are absolute
            path = os.path.join(folder, name)
            pages[path] = Page(path)
for folder, _, names in os.walk(SITE):
    for name in names:
        if name.endswith(".css"):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                errors += [f"{name} loads {url}" for url in re.findall(r"(?:url\(|@import )['\"]?(https?:[^'\")]*)", file.read())]
for path, page in pages.items():
    where = os.path.relpath(path, SITE)
    for link in page.loads:
        found = target(path, link)
        if found is None and not link.startswith(("data:", "javascript:")):
            errors.append(f"{where} loads {link}")
        elif found and not os.path.exists(found[0]):
            errors.append(f"{where} loads {link}, which is not there")
    for link in page.links:
        found = target(path, link)
        if found is None:
            continue
        checked += 1
        if not os.path.exists(found[0]):
            errors.append(f"{where} links {link}, which is not there")
        elif found[1] and found[0] in pages and found[1] not in pages[found[0]].ids and \
                (os.path.dirname(where), found[1]) not in KNOWN:
            errors.append(f"{where} links {link}, where there is no such place")

if len(sys.argv) > 2:
    title, clicks = sys.argv[2], int(sys.argv[3])
    reached = level = {os.path.join(SITE, "index.html")}
    for _ in range(clicks):
        level = {found[0] for path in level for link in pages[path].shown if (found := target(path, link))} & pages.keys()
        reached = reached | level
    if not any(pages[path].title.startswith(title) for path in reached):
        errors.append(f"'{title}' cannot be reached by {clicks} clicks")
print("\n".join(errors) if errors else f"{len(pages)} pages, {checked} links")
sys.exit(1 if errors else 0)
