// Compiles precompiled.hpp for the targets that share it.
#include "support/precompiled.hpp"
