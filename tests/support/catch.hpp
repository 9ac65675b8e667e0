// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Debian 12 has Catch2 2.13, newer systems 3.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
