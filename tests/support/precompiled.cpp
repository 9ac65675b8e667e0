// SPDX-License-Identifier: BSD-3-Clause
// Compiles precompiled.hpp for the targets that share it.
#include "support/precompiled.hpp"
