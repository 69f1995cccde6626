/* Cases 71 and 92: a call of the 32-bit kind from 64-bit code; from one thread of two, SIGSYS handled and blocked.
 * Prints `int80 N` when the call came through, `went on` when the other thread outlives it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *act(void *unused)
{
#if defined(__x86_64__)
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
    printf("int80 %s\n", result > 0 ? "came through" : "failed");
    fflush(stdout);
#endif
    return unused;
}

static void handle(int number)
{
    (void)number;
}

int main(int argc, char **argv)
{
    struct sigaction action;
    sigset_t all;
    pthread_t thread;
    memset(&action, 0, sizeof action);
    action.sa_handler = handle;
    sigaction(SIGSYS, &action, NULL);
    if (argc > 1 && !strcmp(argv[1], "blocked")) {
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, NULL);
    }
    pthread_create(&thread, NULL, act, NULL);
    usleep(300000);
    printf("went on\n");
    return 0;
}
