/* What a filter refuses where nobody can listen to it: told by the thread itself, which then has its errno.
 *
 * Runs in: a child, inside any call of its own that its filter traps; async-signal-safe.  Trusts: the kernel's word on the
 * call.  What is written is the child's own word: whoever reads it believes nothing of it.
 * Flow: filter: TRAP, with the errno -> SIGSYS -> one record on a pipe that never blocks -> the call ends with the errno.
 * Source: seccomp(2), SECCOMP_RET_TRAP; signal-safety(7); struct record is parent/refusals'.
 */
#include "native.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#define CALLS 512 /* numbers whose paths are known */
#define PATH_BYTES 255
#define PAGE 4096
#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code; glibc has no name for it */
#endif

#if defined(__x86_64__)
#define REGISTER(user, name) ((user)->uc_mcontext.gregs[name])
#define RESULT(user) REGISTER(user, REG_RAX)
#define ARGUMENTS(user) \
    {(uint64_t)REGISTER(user, REG_RDI), (uint64_t)REGISTER(user, REG_RSI), (uint64_t)REGISTER(user, REG_RDX), \
     (uint64_t)REGISTER(user, REG_R10), (uint64_t)REGISTER(user, REG_R8), (uint64_t)REGISTER(user, REG_R9)}
#elif defined(__aarch64__)
#define REGISTER(user, name) ((user)->uc_mcontext.regs[name])
#define RESULT(user) REGISTER(user, 0)
#define ARGUMENTS(user) \
    {REGISTER(user, 0), REGISTER(user, 1), REGISTER(user, 2), REGISTER(user, 3), REGISTER(user, 4), REGISTER(user, 5)}
#else
#error "foxden knows the registers of x86_64 and aarch64"
#endif

struct record { /* one write, less than PIPE_BUF: whole, or not there */
    uint32_t number, code, path_bytes, reserved;
    uint64_t args[6];
};

static int writer = -1;
static unsigned char path_register[CALLS]; /* of each number; above 5: none */

/* The path goes from where it lies to the pipe: the kernel copies it, and says EFAULT where there is none. */
static void tell(struct record *record)
{
    uint64_t number = record->number;
    uint64_t path = number < CALLS && path_register[number] < 6 ? record->args[path_register[number]] : 0;
    size_t first = PAGE - path % PAGE < PATH_BYTES ? PAGE - path % PAGE : PATH_BYTES;
    struct iovec parts[] = {
        {record, sizeof *record},
        {(void *)(uintptr_t)path, first},                        /* to the end of its page */
        {(void *)(uintptr_t)(path + first), PATH_BYTES - first}, /* the next one need not be there */
    };
    long done = -1;
    for (int count = path ? 3 : 1; count > 0 && done < 0; count--) {
        record->path_bytes = count == 3 ? PATH_BYTES : count == 2 ? (uint32_t)first : 0;
        done = syscall(SYS_writev, writer, parts, count); /* by number: a checking libc would look at the path itself */
        if (done < 0 && errno != EFAULT)
            return; /* full, or closed: not told */
    }
}

static void on_sigsys(int signal, siginfo_t *info, void *context)
{
    ucontext_t *user = context;
    int saved = errno;
    (void)signal;
    if (info->si_code != SYS_SECCOMP)
        return; /* somebody's kill(2) */
    struct record record = {
        .number = (uint32_t)info->si_syscall, .code = info->si_errno > 0 ? (uint32_t)info->si_errno : EACCES,
        .args = ARGUMENTS(user)};
    tell(&record);
    RESULT(user) = (__typeof__(RESULT(user)))-(int64_t)record.code;
    errno = saved;
}

PyObject *foxden_trap(PyObject *module, PyObject *args)
{
    const char *registers;
    Py_ssize_t size;
    int fd;
    (void)module;
    if (!PyArg_ParseTuple(args, "iy#:trap", &fd, &registers, &size))
        return NULL;
    if (size != CALLS)
        return PyErr_Format(PyExc_ValueError, "trap: expected the registers of %d calls", CALLS);
    memcpy(path_register, registers, CALLS);
    writer = fd;
    struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    if (sigaction(SIGSYS, &action, NULL) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_NewRef(Py_None);
}
