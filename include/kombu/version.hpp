// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// The single source of the version: CMake reads these lines.
#define KOMBU_VERSION_MAJOR 0
#define KOMBU_VERSION_MINOR 1
#define KOMBU_VERSION_PATCH 0

#define KOMBU_DETAIL_TEXT_OF(token) #token
#define KOMBU_DETAIL_VERSION(major, minor, patch) \
    KOMBU_DETAIL_TEXT_OF(major) "." KOMBU_DETAIL_TEXT_OF(minor) "." KOMBU_DETAIL_TEXT_OF(patch)
/// Such as "1.2.3".
#define KOMBU_VERSION_STRING KOMBU_DETAIL_VERSION(KOMBU_VERSION_MAJOR, KOMBU_VERSION_MINOR, KOMBU_VERSION_PATCH)
