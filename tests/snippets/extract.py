"""Makes a C++ program of the snippets in the documentation.

    extract.py OUTPUT FILE...

A snippet is a block ```cpp. The line before it may say how it is compiled:

    <!-- snippet: run -->           statements that the program runs, on the memory broker
    <!-- snippet: coroutine -->     statements of a coroutine
    <!-- snippet: declarations -->  at namespace scope
    otherwise                       statements that are compiled

Its #include lines come first. The names that it does not declare are in context.hpp.
"""
import os
import re
import sys

output, *files = sys.argv[1:]
includes, parts, runs = ['#include "snippets/context.hpp"'], [], []
for file in files:
    lines = open(file, encoding="utf-8").read().split("\n")
    at = 0
    while at < len(lines):
        if lines[at].strip() != "```cpp":
            at += 1
            continue
        kind = re.fullmatch(r"<!-- snippet: (\w+) -->", lines[at - 1].strip())
        kind = kind[1] if kind else "statements"
        end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == "```")
        body = lines[at + 1:end]
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
                assert count, f"{file}:{at}: a snippet that runs must have a URL"
                runs.append(f"snippet_{number}();")
            parts.append(f"void snippet_{number}() {{\nusing namespace context;\n{{\n{place}\n{code}\n}}\n}}")
        at = end + 1
assert parts and runs, "no snippets were found"
with open(output, "w", encoding="utf-8") as out:
    out.write("\n".join(dict.fromkeys(includes)) + "\n\n" + "\n\n".join(parts) +
              "\n\nint main() {\n" + "\n".join(runs) + f'\nstd::cout << "{len(parts)} snippets compiled, {len(runs)} run\\n";\n}}\n')
