// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// The single source of the version: CMake reads these lines.
#define KOMBU_VERSION_MAJOR 0
#define KOMBU_VERSION_MINOR 1
#define KOMBU_VERSION_PATCH 0
