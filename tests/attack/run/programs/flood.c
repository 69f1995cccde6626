/* Cases 94 and 96: opens through the broker.  flood PATH COUNT [STEP_US]: prints `opened N failed M worst US`. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}

int main(int argc, char **argv)
{
    long count = argc > 2 ? atol(argv[2]) : 1, opened = 0, failed = 0;
    int step = argc > 3 ? atoi(argv[3]) : 0;
    double *took = calloc(count, sizeof *took);
    for (long n = 0; n < count; n++) {
        double began = now_us();
        int fd = open(argv[1], O_RDWR | O_CREAT, 0600);
        took[n] = now_us() - began;
        if (fd < 0)
            failed++;
        else {
            opened++;
            close(fd);
        }
        if (step)
            usleep(step);
        if (n == 0) {
            puts("begun");
            fflush(stdout);
        }
    }
    qsort(took, count, sizeof *took, by_size);
    printf("opened %ld failed %ld median %.0f p99 %.0f\n", opened, failed, took[count / 2], took[count * 99 / 100]);
    return failed ? 1 : 0;
}
