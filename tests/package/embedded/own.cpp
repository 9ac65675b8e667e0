// SPDX-License-Identifier: BSD-3-Clause
// A library of the project that uses kombu-cpp.
int own() { return 0; }
