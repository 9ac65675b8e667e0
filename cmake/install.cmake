include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/kombu)

install(TARGETS kombu_pool kombu EXPORT kombu-targets FILE_SET HEADERS)
install(EXPORT kombu-targets NAMESPACE kombu:: DESTINATION ${package_dir})

configure_package_config_file(cmake/kombu-config.cmake.in kombu-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(kombu-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/kombu-config.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/kombu-config-version.cmake
    DESTINATION ${package_dir})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# pkg-config. The prefix is known when installing, not before: cmake --install --prefix may change it.
install(CODE "
    set(PKG_LIBDIR \"\${prefix}/${CMAKE_INSTALL_LIBDIR}\")
    set(PKG_INCLUDEDIR \"\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}\")
    set(PROJECT_DESCRIPTION \"${PROJECT_DESCRIPTION}\")
    set(PROJECT_VERSION \"${PROJECT_VERSION}\")
    foreach(name IN ITEMS kombu kombu-pool)
        configure_file(\"${CMAKE_CURRENT_SOURCE_DIR}/cmake/\${name}.pc.in\" \"${CMAKE_CURRENT_BINARY_DIR}/\${name}.pc\" @ONLY)
        file(INSTALL \"${CMAKE_CURRENT_BINARY_DIR}/\${name}.pc\"
            DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig\")
    endforeach()
")
