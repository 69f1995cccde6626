/* fstat as the call of that name.  glibc 2.33 to 2.38 make newfstatat of it, with an empty path; that a path is empty no
 * filter can see, and one that is not tells of files that nobody granted.
 *
 * Runs in: fork servers, where it comes before the C library's, and their children.  Trusts: nothing.
 * Flow: launch/interpreter names this library in LD_PRELOAD -> every fstat of the process that is not libc's own -> here.
 * Source: fstat(2); ld.so(8).  Structs of both libraries and of the kernel are alike on x86_64 and aarch64.
 */
#include <sys/syscall.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))
PUBLIC int fstat(int fd, void *status) { return (int)syscall(SYS_fstat, fd, status); }
PUBLIC int fstat64(int fd, void *status) { return (int)syscall(SYS_fstat, fd, status); }
