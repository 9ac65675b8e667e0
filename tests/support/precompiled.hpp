// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// The headers that nearly every test includes, compiled once.
#include <kombu/kombu.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>
