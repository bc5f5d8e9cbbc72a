package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/poolproof/poolproof/faults"
)

// chaosRow is a line of the table: one scenario. Durations are nil where there is none.
type chaosRow struct {
	Scenario string `json:"scenario"`
	About    string `json:"about"`
	Layer    string `json:"layer"`
	Verdict  string `json:"verdict"`
	Reason   string `json:"reason,omitempty"` // why it was not run

	Planned  int      `json:"faults_planned"` // by victim
	Landed   int      `json:"faults_landed"`
	Calls    int      `json:"calls"`
	Success  float64  `json:"success"`  // share of the calls during the harm that were answered as asked
	Capacity float64  `json:"capacity"` // share of the workers that were ready and unharmed meanwhile
	Detect   *float64 `json:"detect_seconds"`
	First    *float64 `json:"first_success_seconds"`
	Full     *float64 `json:"full_capacity_seconds"`
	P50      float64  `json:"p50_seconds"` // of the calls during the harm
	P99      float64  `json:"p99_seconds"`
	Max      float64  `json:"max_seconds"`

	Criteria []string              `json:"criteria,omitempty"`
	Findings []string              `json:"findings"`
	Phases   []faults.PhaseReport  `json:"phases,omitempty"`
	Faults   []*faults.FaultReport `json:"faults,omitempty"`
	Plan     string                `json:"plan,omitempty"`
	Replay   string                `json:"replay"`

	report *faults.Report // nil: it was not run
}

// fill takes over what a run came to.
func (r *chaosRow) fill(report *faults.Report, interrupted bool) {
	r.report = report
	r.Findings, r.Phases, r.Faults = report.Findings, report.Phases, report.Faults
	switch {
	case interrupted:
		r.Verdict = verdictIncomplete
	case report.Passed():
		r.Verdict = verdictPassed
	default:
		r.Verdict = verdictFailed
	}
	r.Planned = len(report.Faults) + report.Planned - report.Strikes
	r.Landed = report.Landed("")
	r.Calls = len(report.Calls)
	harm := report.Phase("harm")
	r.Success, r.Capacity = harm.Success(), harm.Capacity
	r.P50, r.P99, r.Max = harm.Latency.P50.Seconds(), harm.Latency.P99.Seconds(), harm.Latency.Max.Seconds()
	r.First, r.Full = maybe(report.FirstSuccess), maybe(report.Recovered)
	for _, f := range report.Faults {
		if d, ok := f.Detection(); ok && (r.Detect == nil || d.Seconds() > *r.Detect) {
			r.Detect = maybe(d)
		}
	}
}

// maybe returns a duration in seconds, or nil if it is negative, which is never.
func maybe(d time.Duration) *float64 {
	if d < 0 {
		return nil
	}
	seconds := d.Seconds()
	return &seconds
}

// chaosReport is the result of chaos.
type chaosReport struct {
	Seed   uint64     `json:"seed"`
	Scale  float64    `json:"scale"`
	Layer  string     `json:"layer"`
	Passed bool       `json:"passed"`
	Rows   []chaosRow `json:"rows"`
	Notes  []string   `json:"notes,omitempty"`
}

// complete reports whether there are rows and every one passed.
func (c *chaosReport) complete() bool {
	for i := range c.Rows {
		if c.Rows[i].Verdict != verdictPassed {
			return false
		}
	}
	return len(c.Rows) > 0
}

func (c *chaosReport) printJSON(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(c)
}

// cell is a column of the table, with the value of a row.
type cell struct{ name, value string }

// cells returns what the table, and the page, say of a run.
func (r *chaosRow) cells() []cell {
	return []cell{
		{"faults", fmt.Sprintf("%d/%d", r.Landed, r.Planned)},
		{"calls", fmt.Sprint(r.Calls)},
		{"success", fmt.Sprintf("%.1f%%", 100*r.Success)},
		{"capacity", fmt.Sprintf("%.1f%%", 100*r.Capacity)},
		{"detect", shortly(r.Detect)},
		{"first", shortly(r.First)},
		{"full", shortly(r.Full)},
		{"p50", shortly(&r.P50)},
		{"p99", shortly(&r.P99)},
		{"max", shortly(&r.Max)},
	}
}

// shortly writes a duration with three digits or so.
func shortly(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	d := time.Duration(*seconds * float64(time.Second))
	unit := time.Microsecond
	for unit < time.Second && d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}

func (c *chaosReport) print(out io.Writer) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	names := []string{"scenario", "verdict"}
	for _, cell := range new(chaosRow).cells() {
		names = append(names, cell.name)
	}
	fmt.Fprintln(w, strings.Join(names, "\t"))
	for i := range c.Rows {
		r := &c.Rows[i]
		values := []string{r.Scenario, r.Verdict}
		for _, cell := range r.cells() {
			if r.report == nil {
				cell.value = "-"
			}
			values = append(values, cell.value)
		}
		fmt.Fprintln(w, strings.Join(values, "\t"))
	}
	w.Flush()
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	for i := range c.Rows {
		c.Rows[i].explain(&b)
	}
	fmt.Fprintf(&b, "\n%s, seed %d\n", c.summary(), c.Seed)
	_, err := io.WriteString(out, b.String())
	return err
}

// explain says why a row did not pass, and how to repeat it.
func (r *chaosRow) explain(b *strings.Builder) {
	if r.Verdict == verdictPassed {
		return
	}
	fmt.Fprintf(b, "\n%s: %s", r.Scenario, r.Verdict)
	if r.Reason != "" {
		fmt.Fprintf(b, ": %s", r.Reason)
	}
	fmt.Fprintln(b)
	for _, f := range r.Findings {
		fmt.Fprintf(b, "  %s\n", strings.ReplaceAll(f, "\n", "\n    "))
	}
	if r.Verdict == verdictFailed {
		fmt.Fprintf(b, "  Repeat it with: %s\n", r.Replay)
	}
}

// summary says in a word, or a few, how it went.
func (c *chaosReport) summary() string {
	if c.Passed {
		return "all passed"
	}
	for i := range c.Rows {
		if c.Rows[i].Verdict == verdictFailed {
			return "FAILED"
		}
	}
	return "NOT COMPLETE"
}
