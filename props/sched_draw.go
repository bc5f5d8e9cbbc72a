package props

import (
	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/model"
)

// schedDrawer draws programs and schedules. What it draws it draws as small numbers, so that
// rapid finds its way to all of them.
type schedDrawer struct {
	rt     *rapid.T
	ranges []*rapid.Generator[int] // by n: from 0 to n-1
}

// schedDrawerOf returns the target's drawer: checks follow one another and share it.
func (t *PoolTarget) drawer(rt *rapid.T) *schedDrawer {
	if t.draws == nil {
		t.draws = &schedDrawer{}
	}
	t.draws.rt = rt
	return t.draws
}

// draw returns a number from 0 to n-1, preferring small ones when it shrinks.
func (d *schedDrawer) draw(label string, n int) int {
	if n < 2 {
		return 0
	}
	for len(d.ranges) <= n {
		d.ranges = append(d.ranges, nil)
	}
	if d.ranges[n] == nil {
		d.ranges[n] = rapid.IntRange(0, n-1)
	}
	return d.ranges[n].Draw(d.rt, label)
}

// schedWeight is how often a verb is drawn, out of all of them.
type schedWeight struct {
	verb   schedVerb
	weight int
}

// schedWeights returns the verbs as they are drawn, the simplest first.
func schedWeights() []schedWeight {
	return []schedWeight{
		{schedAcquire, 34},
		{schedRelease, 24},
		{schedTry, 4},
		{schedDiscard, 5},
		{schedUnusable, 2},
		{schedPause, 4},
		{schedEndSession, 5},
		{schedRetire, 5},
		{schedResize, 5},
		{schedDo, 2},
		{schedDoError, 1},
		{schedDoPanic, 1},
		{schedDoGoexit, 1},
		{schedStat, 2},
		{schedReady, 1},
		{schedAgain, 1},
		{schedClose, 3},
		{schedShutdown, 3},
	}
}

const (
	schedMostOps   = 6 // of a client
	schedMostHooks = 4 // of which something is said
)

// program draws a program for a pool set up like cfg.
func (d *schedDrawer) program(cfg *model.Config) *schedProgram {
	p := &schedProgram{cfg: cfg, observed: d.draw("observed", 2) == 1, clients: make([][]schedOp, cfg.Clients)}
	d.hooks(p)
	left := d.draw("operations", schedMostOps*cfg.Clients) + 1
	for i := range p.clients {
		n := min(left, schedMostOps)
		if i < len(p.clients)-1 {
			n = min(n, (left+1)/(len(p.clients)-i)+d.draw("more", 2))
		}
		for range n {
			p.clients[i] = append(p.clients[i], d.op(cfg, p.clients[i]))
		}
		left -= n
	}
	return p
}

// hooks draws what hooks do.
func (d *schedDrawer) hooks(p *schedProgram) {
	for range d.draw("hooks", schedMostHooks+1) {
		h := schedHook{hook: schedHookKind(d.draw("hook", int(schedHookKinds))), n: uint8(1 + d.draw("number", 4))}
		if d.draw("fails", 2) == 1 {
			h.how = fullError + fullHow(d.draw("how", 3))
		} else {
			h.slow = uint8(1 + d.draw("slow", 3))
		}
		if p.hook(h.hook, int(h.n)) == (schedHook{}) {
			p.hooks = append(p.hooks, h)
		}
	}
}

// op draws an operation to follow those before: what cannot be done without a lease
// follows an acquire.
func (d *schedDrawer) op(cfg *model.Config, before []schedOp) schedOp {
	holding := false
	for _, o := range before {
		switch o.verb {
		case schedAcquire, schedTry:
			holding = true
		case schedRelease, schedDiscard, schedUnusable:
			holding = false
		}
	}
	o := schedOp{verb: d.verb(holding)}
	if o.verb.sessions() && cfg.Sessions > 0 {
		o.session = model.Session(d.draw("session", cfg.Sessions+1))
	}
	if o.verb.waits() {
		switch d.draw("ends", 6) {
		case 4, 5:
			o.ends = schedEndsSome
		case 3:
			if d.draw("stale", 6) == 5 {
				o.ends = schedEndsBefore
			}
		}
	}
	switch o.verb {
	case schedEndSession:
		o.session = max(o.session, 1)
	case schedPause:
		o.n = uint8(1 + d.draw("ticks", 4))
	case schedRetire:
		o.n = uint8(1 + d.draw("worker", 3))
	case schedResize:
		o.n = uint8(1 + d.draw("size", min(cfg.Clients, model.MaxWorkerSlots)))
		o.least = uint8(d.draw("least", int(o.n)+1))
		if cfg.MinSize > 0 { // Ready looks for at least one
			o.least = max(o.least, 1)
		}
	}
	return o
}

// verb draws a verb that makes sense.
func (d *schedDrawer) verb(holding bool) schedVerb {
	total := 0
	weights := schedWeights()
	for i, w := range weights {
		switch w.verb {
		case schedAcquire, schedTry, schedDo, schedDoError, schedDoPanic, schedDoGoexit, schedClose, schedShutdown, schedReady:
			if holding {
				weights[i].weight = 0
			}
		case schedRelease, schedDiscard, schedUnusable:
			if !holding {
				weights[i].weight = 0
			}
		}
		total += weights[i].weight
	}
	at := d.draw("verb", total)
	for _, w := range weights {
		if at -= w.weight; at < 0 {
			return w.verb
		}
	}
	return schedAcquire
}

// schedConfig returns what to verify in this check.
func (t *PoolTarget) schedConfig(rt *rapid.T) *model.Config {
	cfg := t.Config
	if cfg == nil {
		cfg = fullDrawConfig(rt, false)
		cfg.MaxIdleTime = 0 // its sweeps come between two ticks
	}
	return t.complete(cfg)
}
