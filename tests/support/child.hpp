// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>

/// Runs `work` in a forked child. Returns "" on success, else what failed.
///
/// `work` reports a failure by an exception or by a text that is not empty. SIGALRM ends a child after `seconds`.
template <class Work>
std::string in_child(Work work, bool run_exit_handlers = false, unsigned seconds = 30) {
    const pid_t child = ::fork();
    if (child < 0) return "fork failed";
    if (child == 0) {
        ::alarm(seconds);
        std::string failure;
        try {
            failure = work();
        } catch (const std::exception& error) {
            failure = std::string{"threw "} + error.what();
        }
        if (!failure.empty()) std::cerr << "child: " << failure << std::endl;
        if (run_exit_handlers) std::exit(failure.empty() ? 0 : 1);
        ::_exit(failure.empty() ? 0 : 1);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child) return "waitpid failed";
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGALRM ? "the child hung"
                                           : "the child was killed by " + std::to_string(WTERMSIG(status));
    return WEXITSTATUS(status) == 0 ? "" : "the child failed";
}
