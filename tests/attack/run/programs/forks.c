/* Cases 61-64: forks HOW COUNT: row (fork, exit, wait), ignored (SIGCHLD ignored), nohang, vfork, raw, thread: all end.
 * zombies: never waited for; threads, forks: as many as go.  Prints `made N` and, when it stopped, the errno.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *nothing(void *unused) { return unused; }
static void *rest(void *unused) { pause(); return unused; }

static int is(const char *a, const char *b) { return !strcmp(a, b); }

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    volatile long count = argc > 2 ? atol(argv[2]) : 0, n;
    volatile int error = 0;
    if (is(how, "ignored"))
        signal(SIGCHLD, SIG_IGN);
    for (n = 0; n < count && !error; n++) {
        pthread_t thread;
        pid_t pid = 1;
        if (is(how, "thread") || is(how, "threads")) {
            pthread_attr_t small;
            pthread_attr_init(&small);
            pthread_attr_setstacksize(&small, 65536);
            error = pthread_create(&thread, &small, is(how, "threads") ? rest : nothing, NULL);
            if (!error && is(how, "thread"))
                pthread_join(thread, NULL);
            continue;
        }
        if (is(how, "vfork"))
            pid = vfork();
        else if (is(how, "raw"))
            pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        else
            pid = fork();
        if (pid == 0) {
            if (is(how, "forks")) {
                close(1);
                close(2);
                alarm(2); /* without a sandbox nobody ends them */
                pause();
            }
            _exit(0);
        }
        if (pid < 0)
            error = errno;
        else if (is(how, "nohang"))
            while (waitpid(pid, NULL, WNOHANG) == 0)
                sched_yield();
        else if (is(how, "row") || is(how, "vfork") || is(how, "raw"))
            waitpid(pid, NULL, 0);
        else if (is(how, "ignored") && n % 100 == 99)
            while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
                ;
    }
    printf("made %ld %s\n", error ? n - 1 : n, error ? strerror(error) : "all");
    fflush(stdout);
    _exit(0);
}
