/* Cases 7 and 8: what is looked at is not what is opened.
 *
 *   race swap DIR SECONDS     open DIR/x for reading and for writing, while DIR/x is flipped with the link DIR/y
 *   race flip DIR SECONDS     flip them: also outside of any sandbox
 *   race buffer GOOD BAD S    one thread writes the path over and over, another opens what it says (equal lengths)
 *
 * Prints `tries N secret M refused K`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int over;
static char shared[512], good[512], bad[512], dir[400];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void *flip(void *unused)
{
    char x[420], y[420];
    snprintf(x, sizeof x, "%s/x", dir);
    snprintf(y, sizeof y, "%s/y", dir);
    while (!over)
        syscall(SYS_renameat2, AT_FDCWD, x, AT_FDCWD, y, 2);
    return unused;
}

static void *scribble(void *unused)
{
    size_t n = strlen(good) + 1;
    while (!over) {
        memcpy(shared, bad, n);
        memcpy(shared, good, n);
    }
    return unused;
}

static long tries, secret, refused;

static void attempt(const char *path, int flags)
{
    char text[16] = "";
    int fd = open(path, flags);
    tries++;
    if (fd < 0) {
        refused++;
        return;
    }
    if (read(fd, text, 6) > 0 && !memcmp(text, "CANARY", 6))
        secret++;
    close(fd);
}

int main(int argc, char **argv)
{
    pthread_t other;
    char path[420];
    double end;
    if (argc < 4)
        return 2;
    if (!strcmp(argv[1], "buffer")) {
        strncpy(good, argv[2], sizeof good - 1);
        strncpy(bad, argv[3], sizeof bad - 1);
        memcpy(shared, good, sizeof good);
        pthread_create(&other, NULL, scribble, NULL);
        for (end = now() + atof(argv[4]); now() < end;)
            attempt(shared, O_RDWR);
    } else {
        strncpy(dir, argv[2], sizeof dir - 1);
        end = now() + atof(argv[3]);
        if (!strcmp(argv[1], "flip")) {
            pthread_create(&other, NULL, flip, NULL);
            while (now() < end)
                usleep(10000);
        } else {
            snprintf(path, sizeof path, "%s/x", dir);
            if (argc > 4)
                pthread_create(&other, NULL, flip, NULL);
            while (now() < end) {
                for (int n = 0; n < 200; n++)
                    attempt(path, O_RDONLY);
                attempt(path, O_RDWR);
            }
        }
    }
    over = 1;
    printf("tries %ld secret %ld refused %ld\n", tries, secret, refused);
    fflush(stdout);
    _exit(0);
}
