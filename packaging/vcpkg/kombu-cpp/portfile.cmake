# An overlay port of the sources around it:
#     vcpkg install kombu-cpp --overlay-ports=packaging/vcpkg
cmake_path(SET SOURCE_PATH NORMALIZE "${CURRENT_PORT_DIR}/../../..")

vcpkg_check_features(OUT_FEATURE_OPTIONS feature_options
    FEATURES
        brotli KOMBU_WITH_BROTLI
        bzip2 KOMBU_WITH_BZIP2
        lzma KOMBU_WITH_LZMA
        metrics KOMBU_BUILD_METRICS
        status KOMBU_BUILD_STATUS
        tools KOMBU_BUILD_TOOLS
        yaml KOMBU_WITH_YAML
        zstd KOMBU_WITH_ZSTD)

vcpkg_cmake_configure(SOURCE_PATH "${SOURCE_PATH}" OPTIONS ${feature_options} OPTIONS_DEBUG -DKOMBU_BUILD_TOOLS=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME kombu CONFIG_PATH lib/cmake/kombu)
vcpkg_fixup_pkgconfig()
if("tools" IN_LIST FEATURES)
    vcpkg_copy_tools(TOOL_NAMES kombu AUTO_CLEAN)
endif()

# The debug build has the same headers; the license is installed below, where vcpkg looks for it.
file(REMOVE_RECURSE
    "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share" "${CURRENT_PACKAGES_DIR}/share/doc")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
