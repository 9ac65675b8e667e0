# Finds hiredis and defines hiredis::hiredis: by its CMake package, which it has since version 1.0, and else as the
# header and the library.
find_package(hiredis ${hiredis_FIND_VERSION} CONFIG QUIET)
if(TARGET hiredis::hiredis)
    return()
endif()
find_path(hiredis_INCLUDE_DIR hiredis/hiredis.h)
find_library(hiredis_LIBRARY hiredis)
mark_as_advanced(hiredis_INCLUDE_DIR hiredis_LIBRARY)

if(hiredis_INCLUDE_DIR)
    set(hiredis_VERSION "")
    foreach(part IN ITEMS MAJOR MINOR PATCH)
        file(STRINGS ${hiredis_INCLUDE_DIR}/hiredis/hiredis.h line REGEX "^#define HIREDIS_${part} +[0-9]+")
        string(REGEX REPLACE ".* ([0-9]+).*" "\\1" number "${line}")
        string(APPEND hiredis_VERSION ".${number}")
    endforeach()
    string(SUBSTRING "${hiredis_VERSION}" 1 -1 hiredis_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(hiredis
    REQUIRED_VARS hiredis_LIBRARY hiredis_INCLUDE_DIR
    VERSION_VAR hiredis_VERSION)

if(hiredis_FOUND AND NOT TARGET hiredis::hiredis)
    add_library(hiredis::hiredis UNKNOWN IMPORTED)
    set_target_properties(hiredis::hiredis PROPERTIES
        IMPORTED_LOCATION ${hiredis_LIBRARY}
        INTERFACE_INCLUDE_DIRECTORIES ${hiredis_INCLUDE_DIR})
endif()
