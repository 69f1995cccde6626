/* System calls one after the other, with nothing of the interpreter between them: what a child puts on at its start.
 *
 * Runs in: a child, single-threaded, before it has read a byte of input.  Trusts: sandbox/sequence, which makes the steps.
 * Flow: steps and what they point to -> system calls in order -> the group of the first that failed, and its errno.
 * Source: sandbox/sequence; every page of Python that a fresh copy of a process runs has to be copied first.
 */
#include "native.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARGUMENTS 6
#define SLOTS 4
#define TEXT_BYTES 4096
#define NO_SLOT 255
#define STEP_BYTES ((Py_ssize_t)sizeof(struct step))
enum kind { VALUE, TEXT, SLOT, KINDS }; /* an argument: itself, where in the text it lies, what a step gave */

struct step {
    uint32_t number;
    uint8_t group;               /* told when it fails */
    uint8_t saves;               /* in which slot its result goes; NO_SLOT: in none */
    uint8_t kinds[ARGUMENTS];
    int16_t accepted[2];         /* errnos after which the next step is done all the same */
    uint64_t arguments[ARGUMENTS];
};

static int is_whole(const struct step *step, Py_ssize_t text_bytes)
{
    if (step->saves >= SLOTS && step->saves != NO_SLOT)
        return 0;
    for (int i = 0; i < ARGUMENTS; i++) {
        uint64_t argument = step->arguments[i];
        if (step->kinds[i] >= KINDS || (step->kinds[i] == TEXT && argument >= (uint64_t)text_bytes) ||
            (step->kinds[i] == SLOT && argument >= SLOTS))
            return 0;
    }
    return 1;
}

static long make_call(const struct step *step, const char *text, const long *slots)
{
    long given[ARGUMENTS];
    for (int i = 0; i < ARGUMENTS; i++) {
        uint64_t argument = step->arguments[i];
        given[i] = step->kinds[i] == TEXT ? (long)(uintptr_t)(text + argument)
                 : step->kinds[i] == SLOT ? slots[argument] : (long)argument;
    }
    return syscall(step->number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

PyObject *foxden_sequence(PyObject *module, PyObject *args)
{
    const char *table, *pointed;
    Py_ssize_t table_bytes, text_bytes;
    char text[TEXT_BYTES] __attribute__((aligned(8))); /* a copy: the kernel may write to what it is given */
    long slots[SLOTS] = {-1, -1, -1, -1};
    struct step step;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#y#:sequence", &table, &table_bytes, &pointed, &text_bytes))
        return NULL;
    if (table_bytes % STEP_BYTES || text_bytes > TEXT_BYTES)
        return PyErr_Format(PyExc_ValueError, "sequence: expected steps of %zd bytes, and at most %d bytes of text",
                            STEP_BYTES, TEXT_BYTES);
    for (Py_ssize_t at = 0; at < table_bytes; at += STEP_BYTES) {
        memcpy(&step, table + at, sizeof step);
        if (!is_whole(&step, text_bytes))
            return PyErr_Format(PyExc_ValueError, "sequence: step %zd points outside", at / STEP_BYTES);
    }
    memcpy(text, pointed, (size_t)text_bytes);
    for (Py_ssize_t at = 0; at < table_bytes; at += STEP_BYTES) {
        memcpy(&step, table + at, sizeof step);
        long result = make_call(&step, text, slots);
        if (result < 0 && errno != step.accepted[0] && errno != step.accepted[1])
            return Py_BuildValue("ii", step.group, errno);
        if (result >= 0 && step.saves != NO_SLOT)
            slots[step.saves] = result;
    }
    return Py_BuildValue("ii", -1, 0);
}
