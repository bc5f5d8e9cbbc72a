package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/poolproof/poolproof/props"
)

// row is a line of the table: one subtest on one layer.
type row struct {
	Layer      string  `json:"layer"`
	Subtest    string  `json:"subtest"`
	Machine    string  `json:"machine"`
	Asked      int     `json:"asked"`
	Executed   int     `json:"executed"`
	Operations int     `json:"operations"`
	Reached    int     `json:"coverage_reached"`
	Existing   int     `json:"coverage_existing"`
	Verdict    string  `json:"verdict"`
	Seconds    float64 `json:"seconds"`
}

// The verdicts. Whatever is not passed fails the verification.
const (
	verdictPassed     = "passed"
	verdictFailed     = "FAILED"
	verdictIncomplete = "INCOMPLETE" // fewer checks were executed than asked for
	verdictNotRun     = "NOT RUN"
)

// newRow returns the row of a result. It passes only if as many checks were executed as
// the layer was told, whatever the subtest believes.
func newRow(l *layer, r *props.Result) row {
	asked := max(l.spec.Checks, r.Asked)
	verdict := verdictPassed
	switch {
	case r.Failed:
		verdict = verdictFailed
	case r.Executed < asked:
		verdict = verdictIncomplete
	}
	return row{
		Layer: l.name, Subtest: r.Subtest, Machine: r.Machine, Asked: asked, Executed: r.Executed,
		Operations: r.Operations, Reached: r.Reached, Existing: r.Existing, Verdict: verdict, Seconds: r.Elapsed.Seconds(),
	}
}

func (r *row) coverage() string {
	if r.Existing == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%% of %d", 100*float64(r.Reached)/float64(r.Existing), r.Existing)
}

// verification is the result of verify.
type verification struct {
	Seed     uint64   `json:"seed"`
	Passed   bool     `json:"passed"`
	Rows     []row    `json:"rows"`
	Costs    []cost   `json:"costs,omitempty"`
	Notes    []string `json:"notes,omitempty"`
	Failures []string `json:"failures,omitempty"`
}

// complete reports whether there are rows and every one passed. A layer has a row for
// each of its subtests, be it run or not.
func (v *verification) complete() bool {
	for i := range v.Rows {
		if v.Rows[i].Verdict != verdictPassed {
			return false
		}
	}
	return len(v.Failures) == 0 && len(v.Rows) > 0
}

func (v *verification) print(out io.Writer) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "layer\tsubtest\tmachine\tasked\texecuted\toperations\tcoverage\tverdict\ttime")
	for i := range v.Rows {
		r := &v.Rows[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%v\n", r.Layer, r.Subtest, r.Machine, r.Asked, r.Executed, r.Operations,
			r.coverage(), r.Verdict, time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond))
	}
	w.Flush()
	printCosts(&b, v.Costs)
	for _, n := range v.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	for _, f := range v.Failures {
		fmt.Fprintf(&b, "\n%s\n", f)
	}
	if v.Passed {
		fmt.Fprintf(&b, "all passed, seed %d\n", v.Seed)
	} else {
		fmt.Fprintf(&b, "\n%s, seed %d\n", v.summary(), v.Seed)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// summary says in a word, or a few, why not everything passed.
func (v *verification) summary() string {
	if len(v.Failures) > 0 {
		return "FAILED"
	}
	return "NOT COMPLETE"
}
