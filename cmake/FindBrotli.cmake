# Finds brotli, which has no CMake package of its own, and defines Brotli::Brotli.
find_path(Brotli_INCLUDE_DIR brotli/decode.h)
find_library(Brotli_encoder_LIBRARY brotlienc)
find_library(Brotli_decoder_LIBRARY brotlidec)
mark_as_advanced(Brotli_INCLUDE_DIR Brotli_encoder_LIBRARY Brotli_decoder_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Brotli
    REQUIRED_VARS Brotli_encoder_LIBRARY Brotli_decoder_LIBRARY Brotli_INCLUDE_DIR)

if(Brotli_FOUND AND NOT TARGET Brotli::Brotli)
    add_library(Brotli::Brotli INTERFACE IMPORTED)
    set_target_properties(Brotli::Brotli PROPERTIES
        INTERFACE_LINK_LIBRARIES "${Brotli_encoder_LIBRARY};${Brotli_decoder_LIBRARY}"
        INTERFACE_INCLUDE_DIRECTORIES ${Brotli_INCLUDE_DIR})
endif()
