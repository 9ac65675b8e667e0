"""Makes a C++ program of the snippets in the documentation.

    extract.py OUTPUT FILE...

A snippet is a block ```cpp. The line before it may say how it is tested:

    <!-- snippet: run -->           statements that the program runs, on the memory broker
    <!-- snippet: coroutine -->     statements of a coroutine
    <!-- snippet: declarations -->  at namespace scope
    <!-- excerpt: FILE -->          lines of a file of the project, whose indentation may differ
    otherwise                       statements that are compiled

Its #include lines come first. The names that it does not declare are in context.hpp.
"""
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def check_excerpt(path, body, place):
    """The lines must follow each other in the file."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as source:
        lines = [line.strip() for line in source]
    wanted = [line.strip() for line in body]
    if not any(wanted) or not any(lines[i:i + len(wanted)] == wanted for i in range(len(lines))):
        sys.exit(f"{place}: this is not an excerpt of {path}")


output, *files = sys.argv[1:]
includes, parts, runs = ['#include "snippets/context.hpp"'], [], []
for file in files:
    lines = open(file, encoding="utf-8").read().split("\n")
    at = 0
    while at < len(lines):
        if lines[at].strip() != "```cpp":
            at += 1
            continue
        end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == "```")
        body = lines[at + 1:end]
        if excerpt := re.fullmatch(r"<!-- excerpt: (\S+) -->", lines[at - 1].strip()):
            check_excerpt(excerpt[1], body, f"{file}:{at + 1}")
            at = end + 1
            continue
        kind = re.fullmatch(r"<!-- snippet: (\w+) -->", lines[at - 1].strip())
        kind = kind[1] if kind else "statements"
        includes += [line for line in body if line.startswith("#include")]
        code = "\n".join("" if line.startswith("#include") else line for line in body)
        number = len(parts)
        place = f'#line {at + 2} "{os.path.basename(file)}"'
        if kind == "declarations":
            parts.append(f"namespace snippet_{number} {{\nusing namespace context;\n{place}\n{code}\n}}")
        elif kind == "coroutine":
            parts.append(f"asio::awaitable<void> snippet_{number}() {{\nusing namespace context;\n{{\n{place}\n{code}\n}}\n"
                         "co_return;\n}")
        else:
            if kind == "run":
                code, count = re.subn(r'"(amqp|redis)s?://[^"]*"', '"memory://snippets"', code)
                assert count or "memory://" in code, f"{file}:{at}: a snippet that runs must have a URL"
                runs.append(f"snippet_{number}();")
            parts.append(f"void snippet_{number}() {{\nusing namespace context;\n{{\n{place}\n{code}\n}}\n}}")
        at = end + 1
assert parts and runs, "no snippets were found"
with open(output, "w", encoding="utf-8") as out:
    out.write("\n".join(dict.fromkeys(includes)) + "\n\n" + "\n\n".join(parts) +
              "\n\nint main() {\n" + "\n".join(runs) + f'\nstd::cout << "{len(parts)} snippets compiled, {len(runs)} run\\n";\n}}\n')
