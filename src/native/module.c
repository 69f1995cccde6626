/* The module foxden._native: what it offers, and under which number.
 *
 * Runs in: whoever calls foxden.native.load().  Trusts: nothing here decides anything.
 */
#include "native.h"

static PyObject *interface(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromLong(FOXDEN_INTERFACE);
}

static PyMethodDef functions[] = {
    {"interface", interface, METH_NOARGS, "The number of what this build offers, for foxden.native to compare."},
    {"trap", foxden_trap, METH_VARARGS, "trap(fd, registers): answer SIGSYS of this process's filter, and tell there."},
    {"sequence", foxden_sequence, METH_VARARGS, "sequence(steps, text): system calls -> (group that failed or -1, errno)."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "foxden._native",
    .m_doc = "What foxden does faster in C, or cannot do without it.  Loaded by foxden.native alone.",
    .m_size = -1, /* one interpreter a process */
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *made = PyModule_Create(&module);
    PyObject *loop = made ? PyType_FromSpec(&foxden_loop_spec) : NULL;
    if (loop == NULL || PyModule_AddObjectRef(made, "Loop", loop) < 0)
        Py_CLEAR(made);
    Py_XDECREF(loop);
    return made;
}
