#include "common/server/metrics.h"

#include <prometheus/text_serializer.h>

#include <iterator>

namespace softsplice {

prometheus::ClientMetric& Readings::Add(const Family& family, prometheus::MetricType type,
                                        const prometheus::Labels& labels) {
  if (families_.empty() || families_.back().name != family.name) {
    families_.push_back({.name = family.name, .help = family.help, .type = type});
  }
  prometheus::ClientMetric& metric = families_.back().metric.emplace_back();
  for (const auto& [name, value] : labels) metric.label.push_back({name, value});
  return metric;
}

void Readings::Gauge(const Family& family, double value, const prometheus::Labels& labels) {
  Add(family, prometheus::MetricType::Gauge, labels).gauge.value = value;
}

void Readings::Counter(const Family& family, double value, const prometheus::Labels& labels) {
  Add(family, prometheus::MetricType::Counter, labels).counter.value = value;
}

template <>
prometheus::Counter& Metrics::Add(const Family& family, const prometheus::Labels& labels) {
  return prometheus::BuildCounter()
      .Name(family.name)
      .Help(family.help)
      .Register(registry_)
      .Add(labels);
}

template <>
prometheus::Gauge& Metrics::Add(const Family& family, const prometheus::Labels& labels) {
  return prometheus::BuildGauge()
      .Name(family.name)
      .Help(family.help)
      .Register(registry_)
      .Add(labels);
}

template <>
prometheus::Histogram& Metrics::Add(const Family& family, const prometheus::Labels& labels) {
  return prometheus::BuildHistogram()
      .Name(family.name)
      .Help(family.help)
      .Register(registry_)
      .Add(labels,
           prometheus::Histogram::BucketBoundaries(family.edges.begin(), family.edges.end()));
}

Metrics::Source Metrics::AddSource(std::function<void(Readings&)> read) {
  const std::lock_guard lock(mutex_);
  return Source(*this, sources_.insert(sources_.end(), std::move(read)));
}

void Metrics::Remove(Source::Place place) {
  const std::lock_guard lock(mutex_);
  sources_.erase(place);
}

std::string Metrics::Text() {
  Readings readings;
  const std::lock_guard lock(mutex_);
  for (const auto& read : sources_) read(readings);
  std::vector<prometheus::MetricFamily> families = registry_.Collect();
  families.insert(families.end(), std::make_move_iterator(readings.families_.begin()),
                  std::make_move_iterator(readings.families_.end()));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace softsplice
