/* The broker's loop without the interpreter: waits, and answers by itself the calls that broker/quick answers.
 *
 * Runs in: the broker.  Trusts: its Python caller's tables; the kernel; no register and no byte of a child.
 * Flow: Loop.serve: epoll -> notification -> path copied once -> rules -> openat2 without links -> answered;
 *       what is not plain, granted, and a regular file or directory -> back to Python, with what was read of it.
 * Source: broker/quick.py, which decides the same in the same order; seccomp_unotify(2).
 *
 * Nothing is allocated for a child's sake: one path at a time, and tables that the caller made.  While this waits and
 * answers the interpreter is not held, so that any other call on a Loop that serves is refused.
 */
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define CALLS_MAX 8
#define OVERFLOW_ID 65534   /* what the kernel shows for ids that a user namespace does not have */
#define PAGE 4096
#define FIRST 256           /* bytes: most paths end there */
#define WAIT_MAX_S 86400.0  /* a longer wait ends early, and is begun anew */
#define NULL_DEVICE "/dev/null"
#define NULL_ONLY (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND) /* it is there, and is never longer than nothing */
#define TURN_MS 1000        /* of a flood: then Python has a turn, for its signals */

/* The tables come from Python as bytes, in these shapes: broker/loops packs them. */

struct call { /* indexes of registers, and what is done here: a row of broker/quick */
    int32_t number, path, flags, buffer; /* flags -1: none; buffer -1: it opens, else it stats */
    uint32_t fixed, known, need;         /* flags that it implies, that are known here; what the rules must give */
};

struct rule { /* in the order of their paths */
    uint32_t offset, length; /* of the path, in `text` */
    int32_t given;           /* -1: no rule speaks of it; 0: a rule denies */
    uint32_t above;          /* what it has for lying above something that is given */
};

struct ids { /* the one line of a uid_map or gid_map; count 0: as they are outside */
    unsigned inside, outside, count;
};

struct child {
    struct child *next;
    int listener;
    int root;      /* -1: Python answers all of its calls */
    int held;      /* likewise, for a while */
    int ids_known; /* until then Python answers what stats */
    struct ids uids, gids;
    PyObject *rules_bytes, *text_bytes;
    const struct rule *rules;
    size_t rules_count;
    const char *text;
    unsigned long long served;
};

typedef struct {
    PyObject_HEAD
    int busy;
    int descriptors; /* /proc/self/fd */
    size_t calls_count;
    struct call calls[CALLS_MAX];
    struct child *first;
    int was_read; /* `path` holds that of the call in hand */
    char path[PATH_MAX];
} Loop;

enum answer { ANSWERED, FOR_PYTHON };
enum access { MAY_READ = 2, MAY_WRITE = 4, MAY_CREATE = 8 }; /* of sandbox/paths.Access */

_Static_assert(sizeof(struct seccomp_notif) == 80 && sizeof(struct seccomp_notif_resp) == 24, "as the ioctls say");
_Static_assert(sizeof(struct call) == 28 && sizeof(struct rule) == 16, "as broker/loops packs them");

/* ---- rules */

static int compare(const char *path, size_t length, const struct rule *rule, const char *text)
{
    size_t shorter = length < rule->length ? length : rule->length;
    int order = memcmp(path, text + rule->offset, shorter);
    return order ? order : (length > rule->length) - (length < rule->length);
}

static const struct rule *rule_of(const struct child *child, const char *path, size_t length)
{
    size_t low = 0, high = child->rules_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(path, length, &child->rules[middle], child->text);
        if (order == 0)
            return &child->rules[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* As rules.Rules.allows: the longest rule decides, and what lies above something that is given may be looked at. */
static int allows(const struct child *child, const char *path, uint32_t need)
{
    size_t length = strlen(path), end = length;
    const struct rule *rule = NULL, *own = rule_of(child, path, length);
    while (end > 0 && ((rule = rule_of(child, path, end)) == NULL || rule->given < 0)) {
        rule = NULL;
        do /* back to the end of the directory above */
            end--;
        while (end > 0 && path[end] != '/');
    }
    if (rule == NULL)
        rule = rule_of(child, "/", 1);
    if (rule != NULL && rule->given > 0)
        return (need & ~(uint32_t)rule->given) == 0;
    return own != NULL && need != 0 && (need & ~own->above) == 0;
}

/* As view.is_plain: absolute, and every component a name. */
static int is_plain(const char *path)
{
    if (*path != '/')
        return 0;
    while (*path == '/') {
        size_t length = strcspn(++path, "/");
        if (length == 0 || (length == 1 && path[0] == '.') || (length == 2 && path[0] == '.' && path[1] == '.'))
            return 0;
        path += length;
    }
    return 1;
}

/* ---- a child's memory */

/* A text that ends in NUL, never read across a page that need not be there.  0, or errno; then nothing counts as read. */
static int read_text(pid_t tid, uint64_t address, char text[PATH_MAX])
{
    size_t total = 0, size = FIRST;
    while (total < PATH_MAX) {
        size_t page = PAGE - (size_t)(address % PAGE);
        if (size > page)
            size = page;
        if (size > PATH_MAX - total)
            size = PATH_MAX - total;
        struct iovec here = {text + total, size}, there = {(void *)(uintptr_t)address, size};
        ssize_t got = process_vm_readv(tid, &here, 1, &there, 1, 0);
        if (got <= 0)
            return got < 0 ? errno : EFAULT;
        if (memchr(text + total, 0, (size_t)got) != NULL)
            return 0;
        total += (size_t)got;
        address += (uint64_t)got;
        size = PAGE;
    }
    return ENAMETOOLONG;
}

/* ---- answers: never "continue", for what was judged was a copy */

static int is_valid(int listener, uint64_t id)
{
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

static enum answer end_call(int listener, uint64_t id, int error)
{
    struct seccomp_notif_resp response = {.id = id, .error = -error};
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response); /* a failure: nobody waits for it any more */
    return ANSWERED;
}

/* Install the descriptor in the child, and make it the call's result, in one step.  Here it is closed. */
static enum answer give(int listener, uint64_t id, int fd, unsigned flags)
{
    struct seccomp_notif_addfd added = {
        .id = id, .flags = SECCOMP_ADDFD_FLAG_SEND, .srcfd = (uint32_t)fd, .newfd_flags = flags & O_CLOEXEC};
    int error = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &added) < 0 ? errno : 0;
    close(fd);
    return error == 0 || error == ENOENT ? ANSWERED : end_call(listener, id, error); /* EMFILE: it has no room */
}

/* ---- what was found */

static int reopen(int descriptors, int found, unsigned flags)
{
    char name[16];
    int fd;
    snprintf(name, sizeof name, "%d", found); /* no name of the child's is looked up again */
    do
        fd = openat(descriptors, name, (int)flags | O_CLOEXEC | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static enum answer answer_null(int listener, uint64_t id, int descriptors, int found, unsigned flags)
{
    struct stat status;
    if (fstat(found, &status) < 0 || !S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3))
        return FOR_PYTHON;
    int fd = reopen(descriptors, found, flags & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    return fd < 0 ? end_call(listener, id, errno) : give(listener, id, fd, flags);
}

static enum answer answer_open(int listener, uint64_t id, int descriptors, int found, unsigned flags)
{
    struct stat status;
    if (fstat(found, &status) < 0 || !(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)))
        return FOR_PYTHON;
    int fd = reopen(descriptors, found, (flags & (O_DIRECTORY | O_NONBLOCK)) | O_NONBLOCK);
    if (fd < 0)
        return errno == EWOULDBLOCK ? FOR_PYTHON : end_call(listener, id, errno); /* a lease: that takes long */
    if (!(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, 0); /* of a descriptor of ours, to a flag that all files have: it cannot fail */
    return give(listener, id, fd, flags);
}

static unsigned inside(const struct ids *ids, unsigned outer)
{
    if (ids->count == 0)
        return outer;
    return outer >= ids->outside && outer - ids->outside < ids->count ? outer - ids->outside + ids->inside : OVERFLOW_ID;
}

static enum answer answer_stat(
    const struct child *child, const struct seccomp_notif *note, int found, uint64_t buffer, unsigned flags)
{
    struct stat status; /* both libraries and kernel lay it out alike on x86_64 and aarch64 */
    if (!child->ids_known || syscall(SYS_newfstatat, found, "", &status, AT_EMPTY_PATH) < 0)
        return FOR_PYTHON;
    if (S_ISLNK(status.st_mode) && !(flags & AT_SYMLINK_NOFOLLOW))
        return FOR_PYTHON;
    status.st_uid = inside(&child->uids, status.st_uid);
    status.st_gid = inside(&child->gids, status.st_gid);
    if (!is_valid(child->listener, note->id))
        return ANSWERED;
    struct iovec here = {&status, sizeof status}, there = {(void *)(uintptr_t)buffer, sizeof status};
    ssize_t put = process_vm_writev((pid_t)note->pid, &here, 1, &there, 1, 0);
    return end_call(child->listener, note->id, put == (ssize_t)sizeof status ? 0 : put < 0 ? errno : EFAULT);
}

static enum answer answer_call(Loop *loop, const struct child *child, const struct seccomp_notif *note)
{
    int listener = child->listener;
    const struct call *call = NULL;
    const char *path = loop->path;
    for (size_t i = 0; i < loop->calls_count && call == NULL; i++)
        if (loop->calls[i].number == note->data.nr)
            call = &loop->calls[i];
    if (call == NULL || child->root < 0 || child->held)
        return FOR_PYTHON;
    uint32_t flags = (call->flags >= 0 ? (uint32_t)note->data.args[call->flags] : 0) | call->fixed;
    uint32_t beyond = flags & ~call->known, need = call->need;
    if ((beyond != 0 && (call->buffer >= 0 || (beyond & ~(uint32_t)NULL_ONLY) != 0)) || note->data.args[call->path] == 0)
        return FOR_PYTHON;
    if (read_text((pid_t)note->pid, note->data.args[call->path], loop->path) != 0)
        return FOR_PYTHON;
    loop->was_read = 1;
    int null = call->buffer < 0 && strcmp(path, NULL_DEVICE) == 0;
    if (null) {
        if ((flags & O_ACCMODE) == O_ACCMODE || (flags & O_DIRECTORY))
            return FOR_PYTHON;
        need = ((flags & O_ACCMODE) != O_WRONLY ? MAY_READ : 0) | ((flags & (O_ACCMODE | O_TRUNC)) ? MAY_WRITE : 0)
            | ((flags & O_CREAT) ? MAY_CREATE : 0);
    } else if (beyond != 0 || !is_plain(path) || strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/dev/", 5) == 0)
        return FOR_PYTHON;
    if (!allows(child, path, need) || !is_valid(listener, note->id))
        return FOR_PYTHON;
    struct open_how how = {
        .flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
    int found = (int)syscall(SYS_openat2, child->root, path, &how, sizeof how);
    if (found < 0) /* of a path that is granted it may be known that nothing is there */
        return !null && (errno == ENOENT || errno == ENOTDIR) ? end_call(listener, note->id, errno) : FOR_PYTHON;
    enum answer answer = null ? answer_null(listener, note->id, loop->descriptors, found, flags)
        : call->buffer < 0 ? answer_open(listener, note->id, loop->descriptors, found, flags)
        : answer_stat(child, note, found, note->data.args[call->buffer], flags);
    close(found);
    return answer;
}

/* ---- the loop */

static struct child *child_of(const Loop *loop, int listener)
{
    struct child *child = loop->first;
    while (child != NULL && child->listener != listener)
        child = child->next;
    return child;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Serve until there is an event for Python (1), a notification for Python (2), it is time (0), or a call of ours failed
 * (-1, errno).  Runs without the interpreter.
 *
 * One event at a time: who was served goes to the end of epoll's queue, so a flood of one child starves no other. */
static int serve_until(Loop *loop, int epoll, double timeout, struct epoll_event *event, struct seccomp_notif *note)
{
    int64_t start = now_ms(), deadline = timeout < 0 ? INT64_MAX : start + (int64_t)(timeout * 1000 + 0.999);
    int64_t end = deadline - start < TURN_MS ? deadline : start + TURN_MS;
    do {
        int64_t left = deadline - now_ms();
        int count = epoll_wait(epoll, event, 1, timeout < 0 ? -1 : left < 0 ? 0 : (int)left);
        if (count < 0)
            return -1;
        if (count == 0)
            continue;
        struct child *child = child_of(loop, event->data.fd);
        if (child == NULL || !(event->events & EPOLLIN))
            return 1;
        memset(note, 0, sizeof *note); /* the kernel takes no other */
        if (ioctl(child->listener, SECCOMP_IOCTL_NOTIF_RECV, note) < 0) {
            if (errno != ENOENT && errno != EINTR) /* not: whoever asked is gone, or was interrupted */
                return -1;
            continue;
        }
        child->served++;
        loop->was_read = 0;
        if (answer_call(loop, child, note) == FOR_PYTHON)
            return 2;
    } while (now_ms() < end);
    return 0;
}

static int is_idle(const Loop *loop)
{
    if (loop->busy)
        PyErr_SetString(PyExc_RuntimeError, "another thread is in serve()");
    return !loop->busy;
}

static struct child *known_child(const Loop *loop, int listener)
{
    struct child *child = is_idle(loop) ? child_of(loop, listener) : NULL;
    if (child == NULL && !PyErr_Occurred())
        PyErr_Format(PyExc_KeyError, "no child has listener %d", listener);
    return child;
}

static PyObject *loop_serve(PyObject *self, PyObject *args)
{
    Loop *loop = (Loop *)self;
    struct epoll_event event;
    struct seccomp_notif note;
    int epoll, served;
    double timeout;
    if (!PyArg_ParseTuple(args, "id:serve", &epoll, &timeout) || !is_idle(loop))
        return NULL;
    loop->busy = 1;
    Py_BEGIN_ALLOW_THREADS
    served = serve_until(loop, epoll, timeout <= WAIT_MAX_S ? timeout : WAIT_MAX_S, &event, &note);
    Py_END_ALLOW_THREADS
    loop->busy = 0;
    if (served < 0 && errno != EINTR)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (served <= 0)
        return PyErr_CheckSignals() < 0 ? NULL : Py_NewRef(Py_None);
    if (served == 1)
        return Py_BuildValue("iI", event.data.fd, event.events);
    const __u64 *a = note.data.args;
    return Py_BuildValue("iIKIiK(KKKKKK)y", event.data.fd, event.events, note.id, note.pid, note.data.nr,
        note.data.instruction_pointer, a[0], a[1], a[2], a[3], a[4], a[5], loop->was_read ? loop->path : NULL);
}

/* ---- what Python sets */

static void free_child(struct child *child)
{
    Py_XDECREF(child->rules_bytes);
    Py_XDECREF(child->text_bytes);
    free(child);
}

static PyObject *loop_set_rules(PyObject *self, PyObject *args)
{
    Loop *loop = (Loop *)self;
    int listener, root;
    PyObject *rules_bytes, *text_bytes;
    if (!PyArg_ParseTuple(args, "iiSS:set_rules", &listener, &root, &rules_bytes, &text_bytes) || !is_idle(loop))
        return NULL;
    const struct rule *rules = (const struct rule *)(const void *)PyBytes_AsString(rules_bytes);
    const char *text = PyBytes_AsString(text_bytes);
    size_t size = (size_t)PyBytes_Size(rules_bytes), length = (size_t)PyBytes_Size(text_bytes);
    for (size_t i = 0; i < size / sizeof *rules; i++) {
        if (rules[i].offset > length || rules[i].length > length - rules[i].offset
            || (i > 0 && compare(text + rules[i].offset, rules[i].length, &rules[i - 1], text) <= 0))
            return PyErr_Format(PyExc_ValueError, "set_rules: row %zu is out of bounds, or out of order", i);
    }
    struct child *child = child_of(loop, listener);
    if (size % sizeof *rules != 0)
        return PyErr_Format(PyExc_ValueError, "set_rules: not whole rows");
    if (child == NULL) {
        if ((child = calloc(1, sizeof *child)) == NULL)
            return PyErr_NoMemory();
        child->listener = listener;
        child->next = loop->first;
        loop->first = child;
    }
    Py_XDECREF(child->rules_bytes);
    Py_XDECREF(child->text_bytes);
    child->rules_bytes = Py_NewRef(rules_bytes);
    child->text_bytes = Py_NewRef(text_bytes);
    child->rules = rules;
    child->rules_count = size / sizeof *rules;
    child->text = text;
    child->root = root;
    return Py_NewRef(Py_None);
}

static PyObject *loop_set_ids(PyObject *self, PyObject *args)
{
    int listener;
    struct ids uids, gids;
    struct child *child;
    if (!PyArg_ParseTuple(args, "i(III)(III):set_ids", &listener, &uids.inside, &uids.outside, &uids.count, &gids.inside,
            &gids.outside, &gids.count)
        || (child = known_child((Loop *)self, listener)) == NULL)
        return NULL;
    child->uids = uids;
    child->gids = gids;
    child->ids_known = 1;
    return Py_NewRef(Py_None);
}

static PyObject *loop_hold(PyObject *self, PyObject *args)
{
    int listener, held;
    struct child *child;
    if (!PyArg_ParseTuple(args, "ip:hold", &listener, &held) || (child = known_child((Loop *)self, listener)) == NULL)
        return NULL;
    child->held = held;
    return Py_NewRef(Py_None);
}

static PyObject *loop_remove(PyObject *self, PyObject *args)
{
    int listener;
    struct child *child;
    if (!PyArg_ParseTuple(args, "i:remove", &listener) || (child = known_child((Loop *)self, listener)) == NULL)
        return NULL;
    struct child **place = &((Loop *)self)->first;
    while (*place != child)
        place = &(*place)->next;
    *place = child->next;
    free_child(child);
    return Py_NewRef(Py_None);
}

static PyObject *loop_served(PyObject *self, PyObject *args)
{
    int listener;
    struct child *child;
    if (!PyArg_ParseTuple(args, "i:served", &listener) || (child = known_child((Loop *)self, listener)) == NULL)
        return NULL;
    return PyLong_FromUnsignedLongLong(child->served);
}

static PyObject *loop_allows(PyObject *self, PyObject *args)
{
    int listener;
    unsigned need;
    const char *path;
    const struct child *child;
    if (!PyArg_ParseTuple(args, "iyI:allows", &listener, &path, &need)
        || (child = known_child((Loop *)self, listener)) == NULL)
        return NULL;
    return PyBool_FromLong(is_plain(path) && allows(child, path, need));
}

/* ---- the type */

#define IS_REGISTER(index, lowest) ((index) >= (lowest) && (index) < 6)

static PyObject *loop_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    const char *rows;
    Py_ssize_t size;
    int descriptors;
    if (!PyArg_ParseTuple(args, "y#i:Loop", &rows, &size, &descriptors))
        return NULL;
    Loop *loop = (Loop *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (loop == NULL)
        return NULL;
    int is_whole = kwargs == NULL && (size_t)size <= sizeof loop->calls && (size_t)size % sizeof *loop->calls == 0;
    if (is_whole) {
        memcpy(loop->calls, rows, (size_t)size);
        loop->calls_count = (size_t)size / sizeof *loop->calls;
        loop->descriptors = descriptors;
    }
    for (const struct call *call = loop->calls; is_whole && call < loop->calls + loop->calls_count; call++)
        is_whole = IS_REGISTER(call->path, 0) && IS_REGISTER(call->flags, -1) && IS_REGISTER(call->buffer, -1);
    if (!is_whole) {
        PyErr_Format(PyExc_ValueError, "Loop: expected at most %d whole rows of registers", CALLS_MAX);
        Py_CLEAR(loop);
    }
    return (PyObject *)loop;
}

static void loop_dealloc(PyObject *self)
{
    Loop *loop = (Loop *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (struct child *child = loop->first, *next; child != NULL; child = next) {
        next = child->next;
        free_child(child);
    }
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef loop_methods[] = {
    {"set_rules", loop_set_rules, METH_VARARGS, "set_rules(listener, root, rules, text); root -1: Python answers all."},
    {"set_ids", loop_set_ids, METH_VARARGS, "set_ids(listener, uids, gids): (inside, outside, count); count 0: as outside."},
    {"hold", loop_hold, METH_VARARGS, "hold(listener, on): while it is on Python answers all."},
    {"remove", loop_remove, METH_VARARGS, "remove(listener)"},
    {"served", loop_served, METH_VARARGS, "served(listener) -> how many notifications were taken of it."},
    {"serve", loop_serve, METH_VARARGS, "serve(epoll, timeout) -> None, an event, or an event with a notification."},
    {"allows", loop_allows, METH_VARARGS, "allows(listener, path, need): for tests, what the rules in here say."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot loop_slots[] = {
    {Py_tp_new, (void *)loop_new}, {Py_tp_dealloc, (void *)loop_dealloc}, {Py_tp_methods, loop_methods}, {0, NULL},
};

PyType_Spec foxden_loop_spec = {"foxden._native.Loop", sizeof(Loop), 0, Py_TPFLAGS_DEFAULT, loop_slots};
