#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Compares the recipes for Conan and vcpkg with the project: versions, options, dependencies, files.

    recipes_test.py ROOT

recipes.sh builds the packages; it needs Conan and vcpkg.
"""
import ast
import glob
import json
import os
import re
import sys

root = sys.argv[1]


def read(*path):
    with open(os.path.join(root, *path), encoding="utf-8") as file:
        return file.read()


def same(what, left, right):
    if left != right:
        sys.exit(f"{what}: {left} and {right}")


version = ".".join(re.findall(r"#define KOMBU_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", read("include/kombu/version.hpp")))
cmake = read("CMakeLists.txt") + read("cmake/codecs.cmake")
options = set(re.findall(r"option\((KOMBU_BUILD_(?:METRICS|STATUS|TOOLS))", cmake))
options |= {f"KOMBU_WITH_{name}" for name in re.findall(r"^use_codec\((\w+)", cmake, re.MULTILINE)}
assert len(options) == 8, options

manifest = json.loads(read("packaging/vcpkg/kombu-cpp/vcpkg.json"))
portfile = read("packaging/vcpkg/kombu-cpp/portfile.cmake")
features = dict(re.findall(r"^ +(\w+) (KOMBU_\w+)\)?$", portfile, re.MULTILINE))
same("the version of the port, and of the project", manifest["version-semver"], version)
same("the port's features, and those that it passes on", sorted(manifest["features"]), sorted(features))
same("the options that the port sets, and those of the project", sorted(features.values()), sorted(options))

recipe = ast.parse(read("packaging/conan/conanfile.py"))
values = {target.id: ast.literal_eval(node.value) for node in recipe.body if isinstance(node, ast.Assign)
          for target in node.targets if isinstance(target, ast.Name)}
same("the options that the Conan recipe sets, and those of the project",
     sorted(option for option, _ in values["FEATURES"].values()), sorted(options - {"KOMBU_BUILD_TOOLS"}))

# What CMake must find is what the recipes require, by their names for it.
names = {"nlohmann_json": ("nlohmann_json", "nlohmann-json"), "Boost": ("boost", "boost-url"), "ZLIB": ("zlib", "zlib"),
         "OpenSSL": ("openssl", "openssl"), "rabbitmq-c": ("rabbitmq-c", "librabbitmq"), "hiredis": ("hiredis", "hiredis")}
found = set(re.findall(r"^find_package\((\S+)", read("CMakeLists.txt"), re.MULTILINE)) - {"Threads"}
same("the dependencies, and those with a name in this test", sorted(found), sorted(names))
required = {ast.literal_eval(node.args[0]).split("/")[0] for node in ast.walk(recipe)
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "requires"
            and isinstance(node.args[0], ast.Constant)}
same("what the Conan recipe requires, and what CMake does", sorted(required), sorted(conan for conan, _ in names.values()))
ported = {item for item in manifest["dependencies"] if isinstance(item, str)} - {"boost-asio"}  # of kombu/asio.hpp
same("what the port requires, and what CMake does", sorted(ported), sorted(port for _, port in names.values()))

# The sources that Conan takes are enough to configure: all that CMakeLists.txt names without an option.
for pattern in values["SOURCES"]:
    if not glob.glob(os.path.join(root, pattern)):
        sys.exit(f"the Conan recipe exports {pattern}, which is not there")
for folder in re.findall(r"\b(addons|cmake|include|src)/", cmake):
    assert f"{folder}/*" in values["SOURCES"], folder
print(f"the recipes of {version} agree with the project: {len(options)} options, {len(names)} dependencies")
