include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/kombu)

install(TARGETS kombu_pool kombu EXPORT kombu-targets FILE_SET HEADERS)
install(EXPORT kombu-targets NAMESPACE kombu:: DESTINATION ${package_dir})

# Each add-on has an export of its own: who does not ask for it needs nothing that it needs.
foreach(addon IN LISTS addons)
    install(TARGETS kombu_${addon} EXPORT kombu-${addon}-targets FILE_SET HEADERS)
    install(EXPORT kombu-${addon}-targets NAMESPACE kombu:: DESTINATION ${package_dir})
endforeach()

configure_package_config_file(cmake/kombu-config.cmake.in kombu-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(kombu-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/kombu-config.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/kombu-config-version.cmake
    cmake/Findhiredis.cmake
    cmake/FindBrotli.cmake
    DESTINATION ${package_dir})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# pkg-config, relative to where its files are, since cmake --install --prefix may change the prefix.
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX
    BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir} OUTPUT_VARIABLE up)
foreach(name IN ITEMS kombu kombu-pool)
    configure_file(cmake/${name}.pc.in ${name}.pc @ONLY)
    install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${name}.pc DESTINATION ${pkgconfig_dir})
endforeach()
