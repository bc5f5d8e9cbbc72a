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

func newRow(layer string, r *props.Result) row {
	verdict := "passed"
	switch {
	case r.Failed:
		verdict = "FAILED"
	case r.Executed < r.Asked:
		verdict = "INCOMPLETE"
	}
	return row{
		Layer: layer, Subtest: r.Subtest, Machine: r.Machine, Asked: r.Asked, Executed: r.Executed,
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
	Notes    []string `json:"notes,omitempty"`
	Failures []string `json:"failures,omitempty"`
}

// complete reports whether every layer has rows and every row passed.
func (v *verification) complete(layers []layer) bool {
	seen := map[string]bool{}
	for _, r := range v.Rows {
		if r.Verdict != "passed" {
			return false
		}
		seen[r.Layer] = true
	}
	return len(v.Failures) == 0 && len(seen) == len(layers)
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
	for _, n := range v.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	for _, f := range v.Failures {
		fmt.Fprintf(&b, "\n%s\n", f)
	}
	if v.Passed {
		fmt.Fprintf(&b, "all passed, seed %d\n", v.Seed)
	} else {
		fmt.Fprintf(&b, "\nFAILED, seed %d\n", v.Seed)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
