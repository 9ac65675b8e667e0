// SPDX-License-Identifier: BSD-3-Clause
// A bare C program that loads shared objects at run time, as Python, nginx and PostgreSQL do.
//
//   plugin_host LIBRARY PLUGIN...    LIBRARY is only loaded; of each PLUGIN use_pool() is called, and it is unloaded
//
// Meanwhile another thread uses the pools of the first plugin: the others make pools while they are being loaded.
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int fork_and_wait(void) {
    const pid_t child = fork();
    if (child == 0) _exit(0);
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "a forked child ended with status %d\n", status);
        return 1;
    }
    return 0;
}

static int (*used_meanwhile)(void);
static atomic_int done;

static void* use_pools(void* unused) {
    (void)unused;
    while (!done && used_meanwhile() == 0) {
    }
    return NULL;
}

int main(int count, char** names) {
    void* plugins[64];
    int (*use[64])(void);
    pthread_t thread;
    alarm(100);
    for (int i = 1; i < count && i < 64; ++i) {
        plugins[i] = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (!plugins[i]) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        if (i == 1) continue;
        *(void**)&use[i] = dlsym(plugins[i], "use_pool");
        if (!use[i] || use[i]() != 0) {
            fprintf(stderr, "%s does not work\n", names[i]);
            return 1;
        }
        if (i != 2) continue;
        used_meanwhile = use[i];
        if (pthread_create(&thread, NULL, use_pools, NULL) != 0) return 1;
    }
    if (count > 2) {
        done = 1;
        pthread_join(thread, NULL);
    }
    if (fork_and_wait() != 0) return 1;
    // The first one that was loaded is the last to go.
    for (int i = count - 1; i >= 2; --i) {
        dlclose(plugins[i]);
        if (fork_and_wait() != 0) return 1;
    }
    usleep(50 * 1000);  // the maintenance thread may still have to end
    for (int i = 2; i < count; ++i) {
        void* const again = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        *(void**)&use[i] = again ? dlsym(again, "use_pool") : NULL;
        if (!use[i] || use[i]() != 0 || fork_and_wait() != 0) {
            fprintf(stderr, "%s does not work when it is loaded again\n", names[i]);
            return 1;
        }
    }
    return 0;
}
