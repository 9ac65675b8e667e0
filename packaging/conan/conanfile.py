# SPDX-License-Identifier: BSD-3-Clause
# A recipe of the sources around it, for Conan 2:
#     conan create packaging/conan
import os
import re

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rmdir

required_conan_version = ">=2.0"

# option: (the CMake option, the package that it needs)
FEATURES = {
    "with_brotli": ("KOMBU_WITH_BROTLI", "brotli/[>=1.0 <2]"),
    "with_bzip2": ("KOMBU_WITH_BZIP2", "bzip2/[>=1.0.8 <2]"),
    "with_lzma": ("KOMBU_WITH_LZMA", "xz_utils/[>=5.4 <6]"),
    "with_yaml": ("KOMBU_WITH_YAML", "yaml-cpp/[>=0.7 <1]"),
    "with_zstd": ("KOMBU_WITH_ZSTD", "zstd/[>=1.5 <2]"),
    "metrics": ("KOMBU_BUILD_METRICS", "prometheus-cpp/[>=1.0 <2]"),
    "status": ("KOMBU_BUILD_STATUS", "cpp-httplib/[>=0.11 <1]"),
}
SOURCES = ("CMakeLists.txt", "LICENSE", "addons/*", "cmake/*", "include/*", "src/*")


class KombuCppConan(ConanFile):
    name = "kombu-cpp"
    license = "BSD-3-Clause"
    description = "Message brokers through pools: RabbitMQ, Redis and in-process, compatible with Kombu and Celery"
    topics = ("amqp", "rabbitmq", "redis", "connection-pool", "celery", "asio")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "fPIC": [True, False], **{name: [True, False] for name in FEATURES}}
    default_options = {"shared": False, "fPIC": True, **{name: False for name in FEATURES}}
    implements = ["auto_shared_fpic"]

    @property
    def _root(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self._root, "include", "kombu", "version.hpp"))
        self.version = ".".join(re.search(rf"#define KOMBU_VERSION_{part} (\d+)", header)[1]
                                for part in ("MAJOR", "MINOR", "PATCH"))

    def export_sources(self):
        for pattern in SOURCES:
            copy(self, pattern, src=self._root, dst=self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        self.requires("nlohmann_json/[>=3.9 <4]", transitive_headers=True)
        self.requires("boost/[>=1.81 <2]", transitive_headers=True)  # kombu/asio.hpp includes Boost.Asio
        self.requires("rabbitmq-c/[>=0.11 <1]")
        self.requires("hiredis/[>=0.14 <2]")
        self.requires("openssl/[>=3.0 <4]")
        self.requires("zlib/[>=1.2.11 <2]")
        for name, (_, package) in FEATURES.items():
            if self.options.get_safe(name):
                self.requires(package, transitive_headers=name == "metrics")

    def validate(self):
        check_min_cppstd(self, 20)
        if self.settings.os != "Linux":
            raise ConanInvalidConfiguration("kombu-cpp supports Linux only")

    def generate(self):
        toolchain = CMakeToolchain(self)
        for name, (option, _) in FEATURES.items():
            toolchain.cache_variables[option] = bool(self.options.get_safe(name))
        toolchain.generate()
        dependencies = CMakeDeps(self)
        for package, (file, target) in {"brotli": ("Brotli", "Brotli::Brotli"),
                                        "yaml-cpp": ("yaml-cpp", "yaml-cpp::yaml-cpp"),
                                        "zstd": ("zstd", "zstd::libzstd")}.items():
            dependencies.set_property(package, "cmake_file_name", file)
            dependencies.set_property(package, "cmake_target_name", target)
        dependencies.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", src=self.source_folder, dst=os.path.join(self.package_folder, "licenses"))
        rmdir(self, os.path.join(self.package_folder, "lib", "cmake"))  # Conan writes these for its users
        rmdir(self, os.path.join(self.package_folder, "lib", "pkgconfig"))
        rmdir(self, os.path.join(self.package_folder, "share"))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "kombu")
        self._component("pool", []).system_libs = ["pthread", "dl"]
        codecs = [f"{package}::{package}" for package in self._packages("with_")]
        kombu = self._component("kombu", ["pool", "nlohmann_json::nlohmann_json", "boost::headers", "boost::url",
                                          "rabbitmq-c::rabbitmq-c", "hiredis::hiredis", "openssl::ssl",
                                          "zlib::zlib", *codecs])
        kombu.libs = ["kombu"]
        kombu.defines = ["KOMBU_POOL_COMPILED"]
        for addon, requirement in {"metrics": "prometheus-cpp::prometheus-cpp-core",
                                   "status": "cpp-httplib::cpp-httplib"}.items():
            if self.options.get_safe(addon):
                also = ["metrics"] if addon == "status" and self.options.metrics else []
                self._component(addon, ["kombu", requirement, *also]).libs = [f"kombu-{addon}"]

    def _component(self, name, requires):
        component = self.cpp_info.components[name]
        component.set_property("cmake_target_name", f"kombu::{name}")
        component.set_property("pkg_config_name", "kombu" if name == "kombu" else f"kombu-{name}")
        component.requires = requires
        return component

    def _packages(self, prefix):
        """The packages that the chosen features with this prefix need."""
        return [package.split("/")[0] for name, (_, package) in FEATURES.items()
                if name.startswith(prefix) and self.options.get_safe(name)]
