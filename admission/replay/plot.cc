#include "admission/replay/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "admission/units.h"

namespace vramgate {
namespace {

constexpr double kWidth = 960;
constexpr double kLeft = 88;
constexpr double kRight = 24;
constexpr double kTop = 84;
constexpr double kPanelHeight = 190;
constexpr double kPanelGap = 58;
constexpr double kPlotWidth = kWidth - kLeft - kRight;
constexpr double kNothing = -1;  // no point of a line
constexpr size_t kColors = 8;    // classes c0 to c7; more policies begin again

// Okabe and Ito's colours, which differ for the colour-blind too; lighter ones of the same on dark.
constexpr char kStyle[] = R"(
  svg { background: #fff; }
  text { font: 13px system-ui, sans-serif; fill: #222; }
  .title { font-size: 17px; font-weight: 600; } .panel { font-weight: 600; } .tick { font-size: 11px; fill: #555; }
  .grid { stroke: #ddd; } .axis { stroke: #888; } .budget { stroke: #222; stroke-dasharray: 6 4; }
  path { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
  .c0 { stroke: #0072b2; } .c1 { stroke: #d55e00; } .c2 { stroke: #009e73; } .c3 { stroke: #cc79a7; }
  .c4 { stroke: #e69f00; } .c5 { stroke: #56b4e9; } .c6 { stroke: #7f3c8d; } .c7 { stroke: #666; }
  @media (prefers-color-scheme: dark) {
    svg { background: #16181d; } text { fill: #e6e6e6; } .tick { fill: #aaa; } .grid { stroke: #30343c; }
    .axis { stroke: #777; } .budget { stroke: #e6e6e6; } .c0 { stroke: #4aa8e0; } .c1 { stroke: #ff8a4a; }
    .c2 { stroke: #3fd0a3; } .c6 { stroke: #c08ad0; } .c7 { stroke: #aaa; }
  }
)";

std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '<' || c == '>' || c == '&' || c == '"') {
      absl::StrAppendFormat(&out, "&#%d;", byte);
    } else if (byte >= 0x20 && byte != 0x7f) {
      out += c;
    }
  }
  return out;
}

// 1, 2 or 5 times a power of ten: some `count` of them reach `most`.
double Tick(double most, int count) {
  const double raw = most / count;
  if (!(raw > 0)) return 1;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw) return factor * power;
  }
  return 10 * power;
}

struct Panel {
  const char* name;
  double most = 1;
  std::function<double(const Timeline::Span&)> value;
  std::function<std::string(double)> label;
  double tick = 1;
};

std::string Number(double value) {
  return value == std::floor(value) ? absl::StrFormat("%.0f", value) : absl::StrFormat("%g", value);
}

class Picture {
 public:
  Picture(double most_s, double height) : most_s_(most_s) {
    absl::StrAppendFormat(&svg_,
                          "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n"
                          "<style>%s</style>\n",
                          kWidth, height, kStyle);
  }

  void Text(double x, double y, std::string_view css, std::string_view anchor, std::string_view text) {
    absl::StrAppendFormat(&svg_, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">%s</text>\n", x, y,
                          std::string(css), std::string(anchor), Escaped(text));
  }
  void Line(double x1, double y1, double x2, double y2, std::string_view css) {
    absl::StrAppendFormat(&svg_, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1, y1, x2,
                          y2, std::string(css));
  }

  void Legend(const std::vector<ReplayResult>& results) {
    double x = kLeft;
    for (size_t i = 0; i < results.size(); ++i) {
      Line(x, 54, x + 22, 54, absl::StrCat("c", i % kColors, "\" stroke-width=\"3"));
      Text(x + 28, 58, "", "start", results[i].policy);
      x += 44 + 7.6 * static_cast<double>(results[i].policy.size());
    }
  }

  void Draw(const Panel& panel, double top, const std::vector<ReplayResult>& results) {
    const double bottom = top + kPanelHeight;
    Text(kLeft, top - 10, "panel", "start", panel.name);
    for (double v = 0; v <= panel.most * 1.0001; v += panel.tick) {
      const double y = bottom - v / panel.most * kPanelHeight;
      Line(kLeft, y, kLeft + kPlotWidth, y, "grid");
      Text(kLeft - 8, y + 4, "tick", "end", panel.label(v));
    }
    const double tick_s = Tick(most_s_, 10);
    for (double s = 0; s <= most_s_ * 1.0001; s += tick_s) {
      Text(kLeft + s / most_s_ * kPlotWidth, bottom + 17, "tick", "middle", absl::StrCat(Number(s), " s"));
    }
    Line(kLeft, bottom, kLeft + kPlotWidth, bottom, "axis");
    for (size_t i = 0; i < results.size(); ++i) Path(panel, bottom, results[i], i % kColors);
  }

  std::string Take() { return std::move(svg_) + "</svg>\n"; }

 private:
  void Path(const Panel& panel, double bottom, const ReplayResult& result, size_t color) {
    absl::StrAppend(&svg_, "<path class=\"c", color, "\" d=\"");
    char command = 'M';
    for (size_t i = 0; i < result.spans.size(); ++i) {
      const double value = panel.value(result.spans[i]);
      if (value < 0) continue;
      const double x = kLeft + (static_cast<double>(i) + 0.5) * result.span_s / most_s_ * kPlotWidth;
      const double y = bottom - value / panel.most * kPanelHeight;
      absl::StrAppendFormat(&svg_, "%c%.1f %.1f", command, std::min(x, kLeft + kPlotWidth), y);
      command = 'L';
    }
    absl::StrAppend(&svg_, "\"><title>", Escaped(result.policy), "</title></path>\n");
  }

  const double most_s_;
  std::string svg_;
};

// Room above the highest value, to a whole tick.
Panel Scaled(Panel panel, const std::vector<ReplayResult>& results) {
  double most = 0;
  for (const ReplayResult& result : results) {
    for (const Timeline::Span& span : result.spans) most = std::max(most, panel.value(span));
  }
  panel.tick = Tick(std::max(most, 1.0), 4);
  panel.most = panel.tick * std::max(1.0, std::ceil(most / panel.tick));
  return panel;
}

}  // namespace

std::string PlotSvg(std::string_view title, int64_t pool_bytes, const std::vector<ReplayResult>& results) {
  double most_s = 1e-9;
  for (const ReplayResult& result : results) most_s = std::max(most_s, result.duration_s);
  const auto pool = static_cast<double>(pool_bytes);
  std::array<Panel, 3> panels = {
      Panel{"KV the engine occupies (mean; dashed: the budget)", pool * 1.08,
            [](const Timeline::Span& s) { return s.mean_bytes; },
            [](double v) { return FormatBytes(static_cast<int64_t>(v)); }, pool / 4},
      Panel{"Requests that wait (most)", 1, [](const Timeline::Span& s) { return static_cast<double>(s.most_waiting); },
            Number},
      Panel{"Wait of those that start (longest)", 1,
            [](const Timeline::Span& s) { return s.starts > 0 ? s.longest_wait_s : kNothing; },
            [](double v) { return absl::StrCat(Number(v), " s"); }},
  };
  panels[1] = Scaled(panels[1], results);
  panels[2] = Scaled(panels[2], results);
  Picture picture(most_s, kTop + 30 + 3 * (kPanelHeight + kPanelGap));
  picture.Text(kLeft, 28, "title", "start", title);
  picture.Legend(results);
  double top = kTop + 16;
  for (const Panel& panel : panels) {
    picture.Draw(panel, top, results);
    if (&panel == panels.data()) {
      const double y = top + kPanelHeight * (1 - 1 / 1.08);
      picture.Line(kLeft, y, kLeft + kPlotWidth, y, "budget");
    }
    top += kPanelHeight + kPanelGap;
  }
  return picture.Take();
}

}  // namespace vramgate
