#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>

/// What became of a forked child: "" when all was well.
///
/// `work` runs in the child, and throws, or returns what it found wrong. A child that hangs is ended by SIGALRM.
template <class Work>
std::string in_child(Work work, bool run_exit_handlers = false, unsigned seconds = 30) {
    const pid_t child = ::fork();
    if (child < 0) return "fork failed";
    if (child == 0) {
        ::alarm(seconds);
        std::string wrong;
        try {
            wrong = work();
        } catch (const std::exception& error) {
            wrong = std::string{"threw "} + error.what();
        }
        if (!wrong.empty()) std::cerr << "child: " << wrong << std::endl;
        if (run_exit_handlers) std::exit(wrong.empty() ? 0 : 1);
        ::_exit(wrong.empty() ? 0 : 1);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child) return "waitpid failed";
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGALRM ? "the child hung"
                                           : "the child was killed by " + std::to_string(WTERMSIG(status));
    return WEXITSTATUS(status) == 0 ? "" : "the child failed";
}
