/* What the files of foxden._native share.
 *
 * Runs in: the broker, children, fork servers.  Trusts: its Python caller's types are checked, a child's numbers are not.
 * Flow: foxden.native.load() -> module.c -> one table of functions a file.
 * Source: Python's stable ABI of 3.11 (PEP 384); docs/design/decisions/013-a-native-extension-that-may-be-absent.md.
 */
#ifndef FOXDEN_NATIVE_H
#define FOXDEN_NATIVE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Raised with every change of what a function takes or gives: foxden.native loads no other than the one it knows. */
#define FOXDEN_INTERFACE 5

extern PyType_Spec foxden_loop_spec;                         /* broker.c */
PyObject *foxden_trap(PyObject *module, PyObject *args);     /* sigsys.c */
PyObject *foxden_sequence(PyObject *module, PyObject *args); /* sequence.c */

#endif
