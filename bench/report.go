package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// sample is one round of one case. Broker and Baseline are in Unit; Baseline is 0 where the figure has an absolute target.
type sample struct {
	Figure   string             `json:"figure"`
	Case     string             `json:"case"`
	Round    int                `json:"round"`
	Broker   float64            `json:"broker"`
	Baseline float64            `json:"baseline,omitempty"`
	Ratio    float64            `json:"ratio,omitempty"`
	Unit     string             `json:"unit"`
	Extra    map[string]float64 `json:"extra,omitempty"` // by name, with the unit in it
}

// target is what the issue asks of a figure: of the ratio, or of the value itself where there is no baseline.
type target struct {
	atLeast float64
	below   float64
}

func (t target) met(v float64) bool {
	return (t.atLeast == 0 || v >= t.atLeast) && (t.below == 0 || v < t.below)
}

func (t target) String() string {
	switch {
	case t.atLeast != 0:
		return fmt.Sprintf(">= %g", t.atLeast)
	case t.below != 0:
		return fmt.Sprintf("< %g", t.below)
	}
	return ""
}

// report collects samples and failures, and writes them as a table of medians and as JSON lines.
type report struct {
	opts     options
	machine  map[string]any
	samples  []sample
	targets  map[string]target // by figure and case
	failures []string
}

func newReport(o options) *report {
	return &report{opts: o, machine: machine(o.dir), targets: map[string]target{}}
}

// machine says where the figures come from.
func machine(dir string) map[string]any {
	m := map[string]any{"cpus": runtime.NumCPU(), "go": runtime.Version(), "os": runtime.GOOS + "/" + runtime.GOARCH}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m["kernel"] = unix.ByteSliceToString(u.Release[:])
	}
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) == nil {
		m["filesystem"] = fmt.Sprintf("%#x", fs.Type) // statfs(2) lists the numbers; ext4 is 0xef53
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m["cpu"] = strings.TrimSpace(value)
				break
			}
		}
	}
	return m
}

// add takes one round. The ratio is filled in here.
func (r *report) add(s sample, t target) {
	if s.Baseline > 0 {
		s.Ratio = s.Broker / s.Baseline
	}
	r.samples = append(r.samples, s)
	r.targets[s.Figure+"/"+s.Case] = t
}

func (r *report) failed(name string, err error) {
	r.failures = append(r.failures, fmt.Sprintf("%s: %v", name, err))
}

// summary is the medians of one case.
type summary struct {
	Figure   string             `json:"figure"`
	Case     string             `json:"case"`
	Rounds   int                `json:"rounds"`
	Broker   float64            `json:"median_broker"`
	Baseline float64            `json:"median_baseline,omitempty"`
	Ratio    float64            `json:"median_ratio,omitempty"` // median of the rounds' ratios
	RatioMin float64            `json:"min_ratio,omitempty"`
	RatioMax float64            `json:"max_ratio,omitempty"`
	Unit     string             `json:"unit"`
	Target   string             `json:"target,omitempty"`
	Met      bool               `json:"met"`
	Extra    map[string]float64 `json:"median_extra,omitempty"`
}

func (r *report) summaries() []summary {
	var out []summary
	for len(out) < len(r.samples) { // one for each case, in order of first sight
		var key string
		for _, s := range r.samples {
			k := s.Figure + "/" + s.Case
			if !slices.ContainsFunc(out, func(o summary) bool { return o.Figure+"/"+o.Case == k }) {
				key = k
				break
			}
		}
		if key == "" {
			break
		}
		var of []sample
		for _, s := range r.samples {
			if s.Figure+"/"+s.Case == key {
				of = append(of, s)
			}
		}
		out = append(out, summarize(of, r.targets[key]))
	}
	return out
}

func summarize(of []sample, t target) summary {
	get := func(fn func(sample) float64) []float64 {
		var v []float64
		for _, s := range of {
			v = append(v, fn(s))
		}
		return v
	}
	ratios := get(func(s sample) float64 { return s.Ratio })
	s := summary{Figure: of[0].Figure, Case: of[0].Case, Rounds: len(of), Unit: of[0].Unit, Target: t.String(),
		Broker:   median(get(func(s sample) float64 { return s.Broker })),
		Baseline: median(get(func(s sample) float64 { return s.Baseline })),
		Ratio:    median(ratios), RatioMin: slices.Min(ratios), RatioMax: slices.Max(ratios), Extra: map[string]float64{}}
	for name := range of[0].Extra {
		s.Extra[name] = median(get(func(s sample) float64 { return s.Extra[name] }))
	}
	if s.Baseline > 0 {
		s.Met = t.met(s.Ratio)
	} else {
		s.Met = t.met(s.Broker)
	}
	return s
}

// median of v, which must not be empty; the mean of the middle two where the count is even.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	m := len(v) / 2
	if len(v)%2 == 0 {
		return (v[m-1] + v[m]) / 2
	}
	return v[m]
}

// write prints the table and the JSON lines. It fails when a figure could not be measured; a missed target is in the table.
func (r *report) write(out io.Writer) error {
	fmt.Fprintf(out, "\n%v, %v CPUs, kernel %v, %v, file system %v; medians of %d rounds\n\n", r.machine["cpu"], r.machine["cpus"],
		r.machine["kernel"], r.machine["go"], r.machine["filesystem"], r.opts.rounds)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "figure\tcase\tbroker\tbaseline\tunit\tratio\tlowest-highest\ttarget\tmet\t")
	sums := r.summaries()
	for _, s := range sums {
		met := "no"
		if s.Met {
			met = "yes"
		}
		if s.Target == "" {
			met = ""
		}
		ratio, span, base := "", "", ""
		if s.Baseline > 0 {
			ratio, span = fmt.Sprintf("%.2f", s.Ratio), fmt.Sprintf("%.2f-%.2f", s.RatioMin, s.RatioMax)
			base = number(s.Baseline)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Figure, s.Case, number(s.Broker), base, s.Unit, ratio, span, s.Target, met, extras(s.Extra))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := r.writeJSON(out, sums); err != nil {
		return err
	}
	if len(r.failures) > 0 {
		return fmt.Errorf("not measured:\n  %s", strings.Join(r.failures, "\n  "))
	}
	return nil
}

func extras(m map[string]float64) string {
	var parts []string
	for name, v := range m {
		parts = append(parts, name+" "+number(v))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func number(v float64) string {
	switch {
	case v >= 1000 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func (r *report) writeJSON(out io.Writer, sums []summary) error {
	if r.opts.jsonOut != "-" {
		f, err := os.Create(r.opts.jsonOut)
		if err != nil {
			return err
		}
		defer f.Close()
		out = f
	} else {
		fmt.Fprintln(out)
	}
	e := json.NewEncoder(out)
	if err := e.Encode(map[string]any{"machine": r.machine, "failures": r.failures}); err != nil {
		return err
	}
	for _, s := range r.samples {
		if err := e.Encode(s); err != nil {
			return err
		}
	}
	for _, s := range sums {
		if err := e.Encode(s); err != nil {
			return err
		}
	}
	return nil
}
