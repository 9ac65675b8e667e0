# The optional serializers and compression methods: each is built in when its library is found.
# Sets codec_libraries, codec_definitions, codec_packages (for find_dependency) and codec_flags (for pkg-config).
set(codec_libraries "")
set(codec_definitions "")
set(codec_packages "")
set(codec_flags "")

# use_codec NAME PACKAGE TARGET FLAGS
function(use_codec name package target flags)
    option(KOMBU_WITH_${name} "Build ${name} in, when its library is found" ON)
    if(KOMBU_WITH_${name})
        find_package(${package} QUIET)
    endif()
    if(NOT TARGET ${target})
        message(STATUS "Without ${name}: ${package} was not found")
        return()
    endif()
    foreach(item IN ITEMS "libraries ${target}" "definitions KOMBU_WITH_${name}" "packages ${package}"
            "flags ${flags}")
        string(REPLACE " " ";" item "${item}")
        list(POP_FRONT item variable)
        set(codec_${variable} ${codec_${variable}} ${item} PARENT_SCOPE)
    endforeach()
endfunction()

use_codec(YAML yaml-cpp yaml-cpp -lyaml-cpp)
use_codec(BZIP2 BZip2 BZip2::BZip2 -lbz2)
use_codec(LZMA LibLZMA LibLZMA::LibLZMA -llzma)
use_codec(ZSTD zstd zstd::libzstd_shared -lzstd)
use_codec(BROTLI Brotli Brotli::Brotli "-lbrotlienc -lbrotlidec")
list(JOIN codec_flags " " codec_flags)
