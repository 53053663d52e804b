// What was asked of the machine, as events and counters, and how it answers what cannot be done.
#include "machine.h"

#include <cstdarg>
#include <cstring>

namespace cupysim {

Settings settings;
long long counters[COUNTERS];

static PyObject *events = nullptr;        // a list, or null
static PyObject *error_class = nullptr;   // CuPy's CUDARuntimeError
PyObject *pointer_attributes = nullptr;   // CuPy's PointerAttributes

static Status pending = SUCCESS;
static std::string pending_reason;

void record(Counter counter, const char *format, ...) {
    counters[counter]++;
    if (!events) return;
    va_list values;
    va_start(values, format);
    PyObject *event = Py_VaBuildValue(format, values);
    va_end(values);
    if (!event || PyList_Append(events, event) < 0) PyErr_WriteUnraisable(events);
    Py_XDECREF(event);
}

PyObject *none() { Py_RETURN_NONE; }

PyObject *fail(Status status, const std::string &reason) {
    PyObject *error = PyObject_CallFunction(error_class, "i", (int)status);
    if (!error) return nullptr;
    PyObject *arguments =
        Py_BuildValue("(N)", PyUnicode_FromFormat("%S [cupysim: %s]", error, reason.c_str()));
    if (arguments && PyObject_SetAttrString(error, "args", arguments) == 0)
        PyErr_SetObject(error_class, error);
    Py_XDECREF(arguments);
    Py_DECREF(error);
    return nullptr;
}

void fail_later(Status status, const std::string &reason) {
    if (pending != SUCCESS) return;   // as CUDA does, the first one is kept
    pending = status;
    pending_reason = reason;
}

PyObject *none_or_pending() {
    Status status = pending;
    pending = SUCCESS;
    return status == SUCCESS ? none() : fail(status, pending_reason);
}

}   // namespace cupysim

using namespace cupysim;

// ---- for machine.py

EXPORT void cupysim_classes(PyObject *error, PyObject *attributes) {
    Py_INCREF(error);
    Py_INCREF(attributes);
    error_class = error;
    pointer_attributes = attributes;
}

EXPORT void cupysim_configure(int devices, int lazy, int reverse, int poison, size_t redzone,
                              size_t capacity) {
    drain_all();
    settings = {devices, lazy != 0, reverse != 0, poison != 0, redzone, capacity};
}

EXPORT void cupysim_trace(PyObject *list) {
    Py_CLEAR(events);
    if (list == Py_None) return;
    Py_INCREF(list);
    events = list;
}

EXPORT long long cupysim_counter(int counter) { return counters[counter]; }

EXPORT void cupysim_reset_counters() { memset(counters, 0, sizeof counters); }
