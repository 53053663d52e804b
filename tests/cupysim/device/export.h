// CUPYSIM_EXPORT(name, title, kernel): the kernel as an Entry that the machine finds by name, launches, and
// shows under its title.
#pragma once

namespace cupysim {

template <class... Args, size_t... I>
static inline void call(void (*kernel)(Args...), void **arguments, std::index_sequence<I...>) {
    kernel(*(typename std::decay<Args>::type *)arguments[I]...);
}
template <class... Args>
static inline void call(void (*kernel)(Args...), void **arguments) {
    call(kernel, arguments, std::index_sequence_for<Args...>{});
}

template <class... Args>
static Entry entry_of(void (*)(Args...), const char *title, const char *(*run)(const Launch &)) {
    static const size_t sizes[] = {sizeof(typename std::decay<Args>::type)..., 0};
    return {title, sizeof...(Args), sizes, run};
}

}   // namespace cupysim

// Variadic, since a template's instance such as `k<float, int>` has commas of its own.
#define CUPYSIM_EXPORT(name, title, ...)                                                          \
    static void cupysim_body_##name(void **arguments) { cupysim::call(&__VA_ARGS__, arguments); } \
    static const char *cupysim_run_##name(const cupysim::Launch &launch) {                        \
        return cupysim::run_grid(launch, cupysim_body_##name);                                    \
    }                                                                                             \
    extern "C" __attribute__((visibility("default"))) cupysim::Entry cupysim_entry_##name;        \
    cupysim::Entry cupysim_entry_##name = cupysim::entry_of(&__VA_ARGS__, title, cupysim_run_##name);
