package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/poolproof/poolproof/cmd/poolproof/internal/timeline"
	"github.com/poolproof/poolproof/faults"
)

// always are the criteria of every scenario; docs/chaos.md has them in full.
func always() []string {
	return []string{
		"every fault that was planned is injected, and lands",
		"every call is answered exactly once, and rightly",
		"the history breaks none of the rules I1 to I18, and could be judged",
		"while it lasts, at least the share of capacity left, less 5 points, is answered as asked",
		"capacity comes back in full, from workers that have said hello",
		"no call fails before the harm or after healing",
		"nothing is left behind: no process, descriptor, goroutine or growing memory",
	}
}

// writePage writes the page to a file.
func (c *chaosReport) writePage(name string) error {
	calls, landed, planned := 0, 0, 0
	page := timeline.Page{Title: fmt.Sprintf("%d scenarios", len(c.Rows)), Passed: c.Passed}
	for i := range c.Rows {
		r := &c.Rows[i]
		calls, landed, planned = calls+r.Calls, landed+r.Landed, planned+r.Planned
		page.Runs = append(page.Runs, r.run())
	}
	if len(c.Rows) == 1 {
		page.Title = c.Rows[0].Scenario
	}
	page.Facts = []timeline.Fact{
		{Name: "workers", Value: c.Layer},
		{Name: "scale", Value: fmt.Sprint(c.Scale)},
		{Name: "seed", Value: fmt.Sprint(c.Seed)},
		{Name: "calls", Value: fmt.Sprint(calls)},
		{Name: "faults landed", Value: fmt.Sprintf("%d of %d", landed, planned)},
	}
	for _, n := range c.Notes {
		page.Facts = append(page.Facts, timeline.Fact{Name: "note", Value: n})
	}
	return timeline.Save(name, &page)
}

// run returns the part of the page that is about a row.
func (r *chaosRow) run() timeline.Run {
	run := timeline.Run{
		Name: r.Scenario, About: r.About, Layer: r.Layer, Verdict: r.Verdict, Reason: r.Reason,
		Criteria: append(always(), r.Criteria...), Findings: r.Findings, Plan: r.Plan, Replay: r.Replay,
	}
	if r.report == nil {
		return run
	}
	for _, cell := range r.cells() {
		run.Cells = append(run.Cells, timeline.Fact{Name: cell.name, Value: cell.value})
	}
	run.Series = seriesOf(r.report)
	return run
}

// seriesOf returns what is drawn of a run.
func seriesOf(report *faults.Report) timeline.Series {
	var s timeline.Series
	for _, p := range report.Phases {
		s.Phases = append(s.Phases, timeline.Phase{Name: p.Name, From: p.From.Seconds(), To: p.To.Seconds()})
	}
	for _, f := range report.Faults {
		victim := fmt.Sprintf("worker %d", f.Worker)
		if f.Worker == 0 {
			victim = "nobody in particular"
		}
		s.Faults = append(s.Faults, timeline.Fault{
			Kind: f.Kind, Options: f.Options, Victim: victim, At: f.At.Seconds(), Landed: f.Landed.Seconds(),
			Healed: f.Healed.Seconds(), Evidence: f.Evidence, Error: f.Error,
		})
	}
	if len(report.Series) == 0 {
		return s
	}
	step := time.Second
	if len(report.Series) > 1 {
		step = report.Series[1].At - report.Series[0].At
	}
	rate := func(n int) float64 { return float64(n) / step.Seconds() }
	rates := make([][]float64, len(faults.Tally{}))
	for _, sample := range report.Series {
		s.At = append(s.At, (sample.At + step/2).Seconds())
		s.Wanted = append(s.Wanted, rate(sample.Begun))
		s.Capacity = append(s.Capacity, 100*sample.Capacity)
		var p50, most *float64
		total := 0
		for result, n := range sample.Answered {
			rates[result] = append(rates[result], rate(n))
			total += n
		}
		if total > 0 {
			p50, most = maybe(sample.P50), maybe(sample.Max)
		}
		s.P50, s.Max = append(s.P50, p50), append(s.Max, most)
	}
	s.Served, s.Changes = rates[faults.OK], s.At
	for result, list := range rates {
		if result != int(faults.OK) && slices.Max(list) > 0 {
			s.Errors = append(s.Errors, timeline.Errors{Kind: faults.Result(result).String(), Rates: list})
		}
	}
	return s
}
