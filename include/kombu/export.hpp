// SPDX-License-Identifier: BSD-3-Clause
#pragma once

/// Marks what crosses the border of the shared library. Exceptions carry it too, in the header-only part as well:
/// a type with hidden visibility thrown in one shared object is not caught in another.
#define KOMBU_EXPORT __attribute__((visibility("default")))
