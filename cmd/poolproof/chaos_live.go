package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/poolproof/poolproof/faults"
)

// chaosView shows a run while it lasts: a bar where there are bars, else lines.
type chaosView struct {
	show *display
	name string
	size int
	bar  *mpb.Bar // nil: lines

	mu   sync.Mutex
	last []faults.Glimpse // guarded by mu: of the last second, the newest at the end
}

// chaos begins the view of a run.
func (d *display) chaos(name string, cfg *faults.RunConfig) *chaosView {
	v := &chaosView{show: d, name: name, size: cfg.System.Pool.MaxSize}
	if d.bars != nil {
		expected := cfg.Plan.Span() + max(cfg.Before, time.Second) + max(cfg.After, time.Second) + time.Second
		v.bar = d.bars.AddBar(expected.Milliseconds(), mpb.BarWidth(16),
			mpb.PrependDecorators(decor.Name(fmt.Sprintf("%-22s", name))),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return v.text() })))
	}
	return v
}

// progress tells what happens, where there are lines.
func (v *chaosView) progress(text string) {
	if v.bar == nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.show.line("%s: %s", v.name, text)
	}
}

// sampled takes a state of the run.
func (v *chaosView) sampled(g faults.Glimpse) {
	v.mu.Lock()
	v.last = append(v.last, g)
	for len(v.last) > 2 && v.last[0].At < g.At-time.Second {
		v.last = v.last[1:]
	}
	v.mu.Unlock()
	if v.bar != nil {
		v.bar.SetCurrent(g.At.Milliseconds())
	}
}

// text says how the run goes, over the last second.
func (v *chaosView) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.last) == 0 {
		return "starting"
	}
	first, last := &v.last[0], &v.last[len(v.last)-1]
	count := func(g *faults.Glimpse) int { return g.Answered[faults.OK] + g.Answered.Errors() }
	ok := last.Answered[faults.OK] - first.Answered[faults.OK]
	all := count(last) - count(first)
	rate, success := 0.0, 100.0
	if elapsed := (last.At - first.At).Seconds(); elapsed > 0 && all > 0 {
		rate, success = float64(all)/elapsed, 100*float64(ok)/float64(all)
	}
	phase := last.Phase
	if phase == "" {
		phase = "starting"
	}
	return fmt.Sprintf("%-8s %5.0f/s %5.1f %% ok, %d of %d ready, %d faults landed", phase, rate, success, last.Ready, v.size, last.Landed)
}

// end tells how the run ended.
func (v *chaosView) end(row *chaosRow) {
	if v.bar == nil {
		v.show.line("%s: %s, %d of %d faults landed, %d calls", v.name, row.Verdict, row.Landed, row.Planned, row.Calls)
		return
	}
	v.bar.Abort(false)
}
