#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes recipes that stand for the dependencies: they hold nothing, and what they stand for is Debian's.

    stand_ins.py conan|vcpkg DIRECTORY

Conan and vcpkg fetch the dependencies themselves from the network. With these, a recipe of ours builds without it: what
is tested is our recipe, and what is simulated is theirs. Names of packages, components and CMake targets are those of
Conan Center and of vcpkg.
"""
import json
import os
import sys

# name: (version, {component: (CMake target, libraries)}, CMake file)
CONAN = {
    "boost": ("1.81.0", {"headers": ("Boost::headers", []), "url": ("Boost::url", ["boost_url"])}, "Boost"),
    "brotli": ("1.0.9", {"brotlienc": ("brotli::brotlienc", ["brotlienc"]),
                         "brotlidec": ("brotli::brotlidec", ["brotlidec"])}, "brotli"),
    "bzip2": ("1.0.8", {"": ("BZip2::BZip2", ["bz2"])}, "BZip2"),
    "cpp-httplib": ("0.11.4", {"": ("httplib::httplib", ["cpp-httplib"])}, "httplib"),
    "hiredis": ("0.14.1", {"hiredislib": ("hiredis::hiredis", ["hiredis"])}, "hiredis"),
    "nlohmann_json": ("3.11.2", {"": ("nlohmann_json::nlohmann_json", [])}, "nlohmann_json"),
    "openssl": ("3.0.15", {"crypto": ("OpenSSL::Crypto", ["crypto"]), "ssl": ("OpenSSL::SSL", ["ssl", "crypto"])},
                "OpenSSL"),
    "prometheus-cpp": ("1.0.1", {"prometheus-cpp-core": ("prometheus-cpp::core", ["prometheus-cpp-core"])},
                       "prometheus-cpp"),
    "rabbitmq-c": ("0.11.0", {"rabbitmq": ("rabbitmq::rabbitmq-static", ["rabbitmq"])}, "rabbitmq-c"),
    "xz_utils": ("5.4.1", {"": ("LibLZMA::LibLZMA", ["lzma"])}, "LibLZMA"),
    "yaml-cpp": ("0.7.0", {"": ("yaml-cpp::yaml-cpp", ["yaml-cpp"])}, "yaml-cpp"),
    "zlib": ("1.2.13", {"": ("ZLIB::ZLIB", ["z"])}, "ZLIB"),
    "zstd": ("1.5.4", {"zstdlib": ("zstd::libzstd_static", ["zstd"])}, "zstd"),
}
VCPKG = ("boost-asio boost-url brotli bzip2 cli11 cpp-httplib hiredis liblzma librabbitmq nlohmann-json openssl "
         "prometheus-cpp yaml-cpp zlib zstd").split()


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)


def write_conan(directory):
    for name, (version, components, file) in CONAN.items():
        lines = [f'self.cpp_info.set_property("cmake_file_name", "{file}")',
                 "self.cpp_info.includedirs = self.cpp_info.libdirs = self.cpp_info.bindirs = []"]
        for component, (target, libraries) in components.items():
            info = f'self.cpp_info.components["{component}"]' if component else "self.cpp_info"
            lines += [f'{info}.set_property("cmake_target_name", "{target}")', f"{info}.system_libs = {libraries}",
                      f"{info}.includedirs = {info}.libdirs = {info}.bindirs = []"]
        body = "\n".join("        " + line for line in lines)
        write(os.path.join(directory, name, "conanfile.py"),
              f'from conan import ConanFile\n\n\nclass StandIn(ConanFile):\n    name = "{name}"\n'
              f'    version = "{version}"\n\n    def package_info(self):\n{body}\n')


def write_vcpkg(directory):
    for name in VCPKG:
        write(os.path.join(directory, name, "vcpkg.json"),
              json.dumps({"name": name, "version-string": "system", "license": None}, indent=2) + "\n")
        write(os.path.join(directory, name, "portfile.cmake"), "set(VCPKG_POLICY_EMPTY_PACKAGE enabled)\n")


{"conan": write_conan, "vcpkg": write_vcpkg}[sys.argv[1]](sys.argv[2])
