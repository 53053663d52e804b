// Streams, events, and graphs captured from a stream.
//
// In a lazy machine work waits in its stream until something waits for it: what forgets to synchronise reads
// what was there before. Otherwise work runs when it is submitted, as on a GPU that is always faster than its
// host.
#include "machine.h"

namespace cupysim {

static Stream legacy[MAX_DEVICES], per_thread[MAX_DEVICES];   // the default streams, handles 0 and 1, and 2
static std::set<Stream *> created;

static void set_devices() {
    for (int device = 0; device < MAX_DEVICES; device++)
        legacy[device].device = per_thread[device].device = device;
}

Stream *stream_at(intptr_t handle) {
    static const bool once = (set_devices(), true);
    (void)once;
    if (handle == 0 || handle == 1) return &legacy[current_device];
    return handle == 2 ? &per_thread[current_device] : (Stream *)handle;
}

static bool is_legacy(const Stream *stream) { return stream == &legacy[stream->device]; }

static void drain_until(Stream *stream, size_t finished) {
    while (stream->finished < finished && !stream->queue.empty()) {
        Operation operation = std::move(stream->queue.front());
        stream->queue.pop_front();
        std::string reason;
        Status status = operation(&reason);
        stream->finished++;
        if (status != SUCCESS) fail_later(status, reason);
    }
}

void drain(Stream *stream) { drain_until(stream, stream->submitted); }

void drain_all() {
    for (int device = 0; device < MAX_DEVICES; device++) {
        drain(&legacy[device]);
        drain(&per_thread[device]);
    }
    for (Stream *stream : created) drain(stream);
}

// The strictness of a capture says what others may not do meanwhile: global is strictest, relaxed forbids
// nothing.
bool any_capture(CaptureMode strictest) {
    for (Stream *stream : created)
        if (stream->capture && stream->capture_mode <= strictest) return true;
    return false;
}

PyObject *submit(intptr_t handle, Operation operation) {
    Stream *stream = stream_at(handle);
    if (stream->capture) {
        if (stream->capture_broken)
            return fail(CAPTURE_INVALIDATED, "work on a stream whose capture is broken");
        stream->capture->operations.push_back(std::move(operation));
        counters[CAPTURED]++;
        return none();
    }
    // The legacy stream and the blocking ones wait for each other.
    for (Stream *other : created) {
        if (!is_legacy(stream) || !other->waits_for_legacy() || other->device != stream->device) continue;
        if (other->capture) {
            other->capture_broken = true;
            return fail(CAPTURE_IMPLICIT, "work on the legacy stream while a blocking stream is captured");
        }
        drain(other);
    }
    if (!is_legacy(stream) && stream->waits_for_legacy()) drain(&legacy[stream->device]);

    stream->queue.push_back(std::move(operation));
    stream->submitted++;
    if (settings.lazy) return none();
    drain(stream);
    return none_or_pending();
}

}   // namespace cupysim

using namespace cupysim;

// ---- streams
static intptr_t create(unsigned flags, int priority) {
    Stream *stream = new Stream;
    stream->device = current_device;
    stream->flags = flags;
    stream->priority = priority;
    created.insert(stream);
    return (intptr_t)stream;
}

EXPORT intptr_t runtime_streamCreate(int) { return create(0, 0); }
EXPORT intptr_t runtime_streamCreateWithFlags(unsigned flags, int) { return create(flags, 0); }
EXPORT intptr_t runtime_streamCreateWithPriority(unsigned flags, int priority, int) {
    return create(flags, priority);
}
EXPORT unsigned runtime_streamGetFlags(intptr_t stream, int) { return stream_at(stream)->flags; }
EXPORT int runtime_streamGetPriority(intptr_t stream, int) { return stream_at(stream)->priority; }

// The record of it stays, since events may still name it.
EXPORT PyObject *runtime_streamDestroy(intptr_t handle, int) {
    Stream *stream = stream_at(handle);
    drain(stream);
    stream->capture.reset();
    created.erase(stream);
    return none();
}

static PyObject *refuse_in_capture(Stream *stream, const char *call) {
    stream->capture_broken = true;
    return fail(CAPTURE_UNSUPPORTED, std::string(call) + " on a stream that is captured");
}

EXPORT PyObject *runtime_streamSynchronize(intptr_t handle, int) {
    record(SYNC, "(ss)", "sync", "stream");
    Stream *stream = stream_at(handle);
    if (stream->capture) return refuse_in_capture(stream, "cudaStreamSynchronize");
    for (Stream *other : created)
        if (is_legacy(stream) && other->waits_for_legacy() && other->device == stream->device) drain(other);
    drain(stream);
    return none_or_pending();
}

EXPORT PyObject *runtime_streamQuery(intptr_t handle, int) {
    Stream *stream = stream_at(handle);
    if (stream->capture) return refuse_in_capture(stream, "cudaStreamQuery");
    return PyLong_FromLong(stream->queue.empty() ? SUCCESS : NOT_READY);   // CuPy hands the status on
}

// ---- events: a place in a stream's queue
struct Event {
    Stream *stream = nullptr;
    size_t place = 0;
};

EXPORT intptr_t runtime_eventCreate(int) { return (intptr_t)new Event; }
EXPORT intptr_t runtime_eventCreateWithFlags(unsigned, int) { return (intptr_t)new Event; }
EXPORT PyObject *runtime_eventDestroy(intptr_t event, int) {
    delete (Event *)event;
    return none();
}
EXPORT PyObject *runtime_eventRecord(intptr_t event, intptr_t stream, int) {
    Stream *recorded = stream_at(stream);
    *(Event *)event = {recorded, recorded->submitted};
    return none();
}
EXPORT PyObject *runtime_eventSynchronize(intptr_t handle, int) {
    record(SYNC, "(ss)", "sync", "event");
    Event *event = (Event *)handle;
    if (event->stream) drain_until(event->stream, event->place);
    return none_or_pending();
}
EXPORT PyObject *runtime_eventQuery(intptr_t handle, int) {
    Event *event = (Event *)handle;
    bool passed = !event->stream || event->stream->finished >= event->place;
    return PyLong_FromLong(passed ? SUCCESS : NOT_READY);
}
// Time cannot be simulated.
EXPORT float runtime_eventElapsedTime(intptr_t, intptr_t, int) { return 0.001f; }

EXPORT PyObject *runtime_streamWaitEvent(intptr_t stream, intptr_t handle, int, void *) {
    if (stream_at(stream)->capture)
        return none();   // a dependency between captures, which are kept in order anyway
    Event event = *(Event *)handle;
    return submit(stream, [event](std::string *) {
        if (event.stream) drain_until(event.stream, event.place);
        return SUCCESS;
    });
}

// ---- capture and graphs
struct OptionalInt {   // Cython's form of an optional argument
    int given;
    int value;
};

EXPORT PyObject *runtime_streamBeginCapture(intptr_t handle, int, OptionalInt *mode) {
    Stream *stream = stream_at(handle);
    if (is_legacy(stream)) return fail(CAPTURE_UNSUPPORTED, "capture of the legacy stream");
    if (stream->capture) return fail(CAPTURE_INVALIDATED, "the stream is captured already");
    stream->capture = std::make_unique<Graph>();
    stream->capture_broken = false;
    stream->capture_mode = mode && mode->given ? (CaptureMode)mode->value : CAPTURE_RELAXED;
    return none();
}

EXPORT intptr_t runtime_streamEndCapture(intptr_t handle, int) {
    Stream *stream = stream_at(handle);
    std::unique_ptr<Graph> graph = std::move(stream->capture);
    if (graph && !stream->capture_broken) return (intptr_t)graph.release();
    fail(CAPTURE_INVALIDATED, graph ? "the capture is broken" : "the stream is not captured");
    return 0;
}

EXPORT int runtime_streamIsCapturing(intptr_t handle, int) { return stream_at(handle)->capture != nullptr; }

EXPORT intptr_t runtime_graphInstantiate(intptr_t graph, int) { return (intptr_t)new Graph(*(Graph *)graph); }
EXPORT PyObject *runtime_graphUpload(intptr_t, intptr_t, int) { return none(); }
EXPORT PyObject *runtime_graphDestroy(intptr_t graph, int) {
    delete (Graph *)graph;
    return none();
}
EXPORT PyObject *runtime_graphExecDestroy(intptr_t graph, int skip) {
    return runtime_graphDestroy(graph, skip);
}

EXPORT PyObject *runtime_graphLaunch(intptr_t graph, intptr_t stream, int) {
    record(GRAPH_LAUNCH, "(sn)", "graphlaunch", (Py_ssize_t)((Graph *)graph)->operations.size());
    return submit(stream, [operations = ((Graph *)graph)->operations](std::string *reason) {
        for (const Operation &operation : operations)
            if (Status status = operation(reason)) return status;
        return SUCCESS;
    });
}
