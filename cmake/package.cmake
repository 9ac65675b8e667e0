# Debian packages: cpack -G DEB, in a build directory configured with -DCMAKE_INSTALL_PREFIX=/usr.
# tests/package/debian.sh builds them, has lintian check them, and uses them on a bare Debian.
set(CPACK_PACKAGE_NAME kombu-cpp)
set(CPACK_PACKAGE_VENDOR kombu-cpp)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "message brokers through pools, for C++20")
set(CPACK_PACKAGE_CONTACT "kombu-cpp <packages@kombu-cpp.invalid>" CACHE STRING "Who builds the Debian packages")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR})
foreach(addon IN LISTS addons)
    list(APPEND CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR}/addons/${addon})
endforeach()
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

find_program(gzip gzip REQUIRED)
set(debian_dir ${CMAKE_CURRENT_SOURCE_DIR}/packaging/debian)
execute_process(COMMAND ${gzip} -9nc ${debian_dir}/changelog
    OUTPUT_FILE ${CMAKE_CURRENT_BINARY_DIR}/changelog.gz COMMAND_ERROR_IS_FATAL ANY)

# package(COMPONENT NAME SECTION DEPENDS TEXT): TEXT is the description below the summary.
set(CPACK_COMPONENTS_ALL)
macro(package component name section depends text)
    string(TOUPPER ${component} upper)
    list(APPEND CPACK_COMPONENTS_ALL ${component})
    set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${name})
    set(CPACK_DEBIAN_${upper}_PACKAGE_SECTION ${section})
    set(CPACK_DEBIAN_${upper}_PACKAGE_DEPENDS "${depends}")
    set(CPACK_COMPONENT_${upper}_DESCRIPTION "${text}")
    if("${section}" STREQUAL "libs")
        set(CPACK_DEBIAN_${upper}_PACKAGE_CONTROL_EXTRA ${debian_dir}/triggers)
    endif()
    install(FILES ${debian_dir}/copyright ${CMAKE_CURRENT_BINARY_DIR}/changelog.gz
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name} COMPONENT ${component})
endmacro()

set(same_version "(= ${PROJECT_VERSION})")
set(needed_by_dev "libkombu${abi} ${same_version}, nlohmann-json3-dev")
foreach(addon IN LISTS addons)
    package(${addon} libkombu-${addon}${abi} libs ""
        "Pools of connections and producers, as Kombu has them in Python.\n This is the library kombu-${addon}.")
    string(APPEND needed_by_dev ", libkombu-${addon}${abi} ${same_version}")
endforeach()
package(runtime libkombu${abi} libs ""
    "Pools of connections and producers for RabbitMQ and Redis, as in Kombu.\n This is the library.")
package(dev libkombu-dev libdevel "${needed_by_dev}"
    "Pools of connections and producers for RabbitMQ and Redis, as in Kombu.\n These are its headers.")
if("metrics" IN_LIST addons)
    set(CPACK_DEBIAN_DEV_PACKAGE_SUGGESTS "libboost1.81-dev, prometheus-cpp-dev")
endif()
if(KOMBU_BUILD_TOOLS)
    package(tools kombu-tools utils ""
        "The command kombu publishes to RabbitMQ and Redis, receives and measures.\n It needs no Python.")
endif()
package(doc kombu-doc doc ""
    "Guides, measurements, and programs to copy, for the library libkombu-dev.\n They are in Markdown and C++.")
set(CPACK_DEBIAN_DOC_PACKAGE_ARCHITECTURE all)
install(DIRECTORY docs examples DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/kombu-doc COMPONENT doc
    PATTERN Doxyfile EXCLUDE PATTERN site EXCLUDE PATTERN CMakeLists.txt EXCLUDE)
install(FILES README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/kombu-doc COMPONENT doc)
include(CPack)
