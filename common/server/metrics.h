// What a process counts, and what it reads off itself when somebody asks, as text for Prometheus.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/labels.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>

#include <cstddef>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"

namespace softsplice {

// A family of metrics. A name that was published once stays.
struct Family {
  const char* name;
  const char* help;
  absl::Span<const double> edges = {};  // upper bounds of a histogram's buckets
};

// Edges, those of OpenTelemetry's gen_ai conventions where it has them, in seconds: of whole calls;
// of waits, the first token's included; of steps and tokens. Of sizes: tokens, rows.
inline constexpr double kCallEdges[] = {0.01,  0.02,  0.04,   0.08,   0.16,  0.32,
                                        0.64,  1.28,  2.56,   5.12,   10.24, 20.48,
                                        40.96, 81.92, 163.84, 327.68, 655.36};
inline constexpr double kWaitEdges[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5,
                                        0.75,  1,     2.5,  5,    7.5,  10,   20,   40,  80,   160};
inline constexpr double kStepEdges[] = {0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075,
                                        0.01,   0.025, 0.05,  0.075, 0.1,   0.15,  0.2,
                                        0.3,    0.4,   0.5,   0.75,  1,     2.5};
inline constexpr double kSizeEdges[] = {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536};

// Takes what sources read. Families may come again, with other labels, one after another.
class Readings {
 public:
  void Gauge(const Family& family, double value, const prometheus::Labels& labels = {});
  // What only grows.
  void Counter(const Family& family, double value, const prometheus::Labels& labels = {});

 private:
  friend class Metrics;
  prometheus::ClientMetric& Add(const Family& family, prometheus::MetricType type,
                                const prometheus::Labels& labels);
  std::vector<prometheus::MetricFamily> families_;
};

// Thread-safe; outlives what it gave out.
class Metrics {
 public:
  // Reads until it is destroyed, and not later.
  class Source {
   public:
    ~Source() { metrics_.Remove(place_); }
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;

   private:
    friend class Metrics;
    using Place = std::list<std::function<void(Readings&)>>::iterator;
    Source(Metrics& metrics, Place place) : metrics_(metrics), place_(place) {}
    Metrics& metrics_;
    const Place place_;
  };

  // One metric of a family, a Counter, Gauge or Histogram; there from now on, with nothing counted.
  // Added again it is the same one.
  template <class Metric>
  Metric& Add(const Family& family, const prometheus::Labels& labels = {});

  // `read` is called whenever somebody asks, by one thread at a time: the place for what costs a
  // lock.
  [[nodiscard]] Source AddSource(std::function<void(Readings&)> read);

  // All of it in the text format 0.0.4.
  std::string Text();

 private:
  void Remove(Source::Place place);

  prometheus::Registry registry_;
  std::mutex mutex_;
  std::list<std::function<void(Readings&)>> sources_;
};

template <>
prometheus::Counter& Metrics::Add(const Family& family, const prometheus::Labels& labels);
template <>
prometheus::Gauge& Metrics::Add(const Family& family, const prometheus::Labels& labels);
template <>
prometheus::Histogram& Metrics::Add(const Family& family, const prometheus::Labels& labels);

// A metric for each value of a label; an enum numbers them from 0.
template <class Metric, class Value>
class ByLabel {
 public:
  // `others`: labels that all of them have.
  ByLabel(Metrics& metrics, const Family& family, const char* label,
          absl::Span<const char* const> values, const prometheus::Labels& others = {}) {
    for (const char* value : values) {
      prometheus::Labels labels = others;
      labels.emplace(label, value);
      metrics_.push_back(&metrics.Add<Metric>(family, labels));
    }
  }
  Metric& operator[](Value value) const { return *metrics_[static_cast<size_t>(value)]; }

 private:
  std::vector<Metric*> metrics_;
};
template <class Value>
using Counters = ByLabel<prometheus::Counter, Value>;
template <class Value>
using Histograms = ByLabel<prometheus::Histogram, Value>;

inline void Observe(prometheus::Histogram& histogram, absl::Duration duration) {
  histogram.Observe(absl::ToDoubleSeconds(duration));
}

}  // namespace softsplice
