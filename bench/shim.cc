// Google Benchmark behind shim.h.
#include "shim.h"
#include <benchmark/benchmark.h>
#include <regex>
#include <string>

static benchmark::State &state_of(shim_state *state) { return *reinterpret_cast<benchmark::State *>(state); }

bool shim_initialize(int *argc, char **argv)
{
    benchmark::Initialize(argc, argv);
    return !benchmark::ReportUnrecognizedArguments(*argc, argv);
}

const char *shim_filter(void)
{
    static const std::string filter = benchmark::GetBenchmarkFilter();
    return filter.c_str();
}

// As Google Benchmark reads it: "" and "all" are everything, "-" in front turns it round, and manual time is part of a name.
int shim_takes(const char *name)
{
    static const std::string filter = shim_filter();
    const bool turned = !filter.empty() && filter[0] == '-', all = filter.empty() || filter == "all";
    try {
        static const std::regex expression(all ? "." : filter.substr(turned), std::regex_constants::extended);
        return std::regex_search(std::string(name) + "/manual_time", expression) != turned;
    } catch (const std::regex_error &) {
        return -1;
    }
}

void shim_context(const char *key, const char *value) { benchmark::AddCustomContext(key, value); }

void shim_register(const char *name, const char *unit, void (*run)(void *row, shim_state *state), void *row)
{
    const std::string u(unit);
    benchmark::RegisterBenchmark(
        name, [run, row](benchmark::State &state) { run(row, reinterpret_cast<shim_state *>(&state)); })
        ->UseManualTime()
        ->Unit(u == "ns"   ? benchmark::kNanosecond
               : u == "us" ? benchmark::kMicrosecond
                           : benchmark::kMillisecond);
}

void shim_run(void)
{
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}

bool shim_next(shim_state *state) { return state_of(state).KeepRunning(); }

// Google Benchmark divides the sum of iteration times by the iterations: one sum makes each of them `seconds`.
void shim_time(shim_state *state, double seconds)
{
    state_of(state).SetIterationTime(seconds * static_cast<double>(state_of(state).iterations()));
}

void shim_counter(shim_state *state, const char *name, double value) { state_of(state).counters[name] = value; }

void shim_label(shim_state *state, const char *text) { state_of(state).SetLabel(text); }

void shim_skip(shim_state *state, const char *reason) { state_of(state).SkipWithError(reason); }
