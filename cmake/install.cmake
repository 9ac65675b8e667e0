include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/kombu)

install(TARGETS kombu_pool kombu EXPORT kombu-targets
    LIBRARY COMPONENT runtime NAMELINK_COMPONENT dev
    ARCHIVE COMPONENT dev
    FILE_SET HEADERS COMPONENT dev)
install(EXPORT kombu-targets NAMESPACE kombu:: DESTINATION ${package_dir} COMPONENT dev)

# Each add-on has an export of its own: who does not ask for it needs nothing that it needs.
foreach(addon IN LISTS addons)
    install(TARGETS kombu_${addon} EXPORT kombu-${addon}-targets
        LIBRARY COMPONENT ${addon} NAMELINK_COMPONENT dev
        ARCHIVE COMPONENT dev
        FILE_SET HEADERS COMPONENT dev)
    install(EXPORT kombu-${addon}-targets NAMESPACE kombu:: DESTINATION ${package_dir} COMPONENT dev)
endforeach()

configure_package_config_file(cmake/kombu-config.cmake.in kombu-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(kombu-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/kombu-config.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/kombu-config-version.cmake
    cmake/Findhiredis.cmake
    cmake/FindBrotli.cmake
    cmake/Findhttplib.cmake
    DESTINATION ${package_dir} COMPONENT dev)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT license)  # packages have a copyright file

# pkg-config, relative to where its files are, since cmake --install --prefix may change the prefix.
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX
    BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir} OUTPUT_VARIABLE up)
# pkg-config wants what is private to be installed too, even for a shared library, whose users do not need it.
set(pc_requires_private)
set(pc_libs_private)
if(NOT BUILD_SHARED_LIBS)
    set(pc_requires_private "Requires.private: hiredis librabbitmq openssl zlib\n")
    set(pc_libs_private "Libs.private: -lboost_url ${codec_flags}")
endif()
foreach(name IN ITEMS kombu kombu-pool)
    configure_file(cmake/${name}.pc.in ${name}.pc @ONLY)
    install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${name}.pc DESTINATION ${pkgconfig_dir} COMPONENT dev)
endforeach()
