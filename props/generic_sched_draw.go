package props

import (
	"math/rand/v2"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/sched"
)

// genSchedSource draws programs and schedules, all from numbers that rapid draws. Rapid does
// not shrink them: it would not know what a preemption is; the shrinker of findings does.
type genSchedSource struct {
	pcg *rand.PCG
	rng *rand.Rand

	left int     // runs of the current program
	ops  []genOp // of the current program, once it has been drawn
	word *rapid.Generator[uint64]
}

func newGenSchedSource() *genSchedSource {
	pcg := rand.NewPCG(0, 0)
	return &genSchedSource{pcg: pcg, rng: rand.New(pcg), word: rapid.Uint64()}
}

// genEach is how many schedules a program is run under before another is drawn: few, for a
// program that cannot show a fault does so under none.
const genEach = 3

// next returns what the next check runs, and under which strategy.
func (d *genSchedSource) next(rt *rapid.T) (genPlay, *genCalm) {
	d.pcg.Seed(schedMix(d.word.Draw(rt, "seed")), schedMix(^d.word.Draw(rt, "seed")))
	play := func(r *genRun) *model.PromiseViolation { return replayOps(d.ops)(r) }
	if d.left == 0 {
		d.left, d.ops = genEach, nil
		play = d.program
	}
	d.left--
	return play, &genCalm{each: d.strategy}
}

// strategy draws how the lines of a burst are scheduled. Bursts are independent, for each
// begins and ends at rest, so each gets its own preemptions: one here hides nothing there.
func (d *genSchedSource) strategy() sched.Strategy {
	switch d.rng.IntN(8) {
	case 0, 1:
		return sched.NewDrawn(d.draw)
	case 2:
		return sched.NewPCT(d.rng.Uint64(), 3, genBurstPoints)
	}
	return &genWalk{draw: d.draw, in: 2 << d.rng.IntN(4)}
}

// genBurstPoints is about how many points the tasks of a burst pass.
const genBurstPoints = 30

// draw returns a number from 0 to n-1.
func (d *genSchedSource) draw(_ string, n int) int { return d.rng.IntN(n) }

// Of a program: how many times lines are done together, at most; more than how many come
// before them beside acquires; and how many of these there are.
const (
	genMostBursts   = 8
	genMostBefore   = 3
	genMostTogether = 5
)

// program draws a program as it goes: some lines one after the other, which bring the pool
// into a state, and then some together, and perhaps again: most of what a check costs is to
// open a pool and to wind down. Each burst has themes of its own, and the judge looks at the
// rest that follows; calm comes in the end.
func (d *genSchedSource) program(r *genRun) *model.PromiseViolation {
	defer func() { d.ops = r.ops }()
	g := newGenDrawer(func(string) uint64 { return d.rng.Uint64() }, genProfile{})
	for range 1 + g.rng.IntN(genMostBursts) {
		g.drawTheme()
		if v := g.before(r); v != nil {
			return v
		}
		theme := g.theme
		if g.one(2) { // acquires and releases would crowd out what seldom meets them
			g.rare = true
			g.theme |= genTClose | genTReset | genTResize | genTCreate | genTTries | genTEndings | genTSessions
		}
		g.meets = true
		if v := r.step(g.burst(r)...); v != nil {
			return v
		}
		g.meets, g.rare, g.theme = false, false, theme
	}
	return nil
}

// before draws and does what comes before a burst: up to two leases more than there are are
// asked for, some come back, and a few other things are done.
func (g *genDrawer) before(r *genRun) *model.PromiseViolation {
	for range g.rng.IntN(r.target.Capacity + 3) {
		if id := r.free(); id > 0 {
			if v := r.step(g.acquire(r, id)); v != nil {
				return v
			}
		}
	}
	if ids := r.holders(); len(ids) > 0 && g.one(2) {
		g.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		for _, id := range ids[:1+g.rng.IntN(len(ids))] {
			if v := r.step(genOp{verb: genVRelease, client: id}); v != nil {
				return v
			}
		}
	}
	for range g.rng.IntN(genMostBefore) {
		if v := r.step(g.draw(r, nil)); v != nil {
			return v
		}
	}
	return nil
}

// burst draws lines to be done together. Some clients go on with what follows.
func (g *genDrawer) burst(r *genRun) []genOp {
	var front []genOp
	for range 2 + g.rng.IntN(genMostTogether-1) {
		front = append(front, g.draw(r, front))
	}
	ops := front
	for _, o := range front {
		if next, ok := g.after(o); ok {
			ops = append(ops[:len(ops):len(ops)], next)
		}
	}
	return ops
}

// after draws what a client does after o, if anything.
func (g *genDrawer) after(o genOp) (genOp, bool) {
	next := genOp{client: o.client}
	switch o.verb {
	case genVAcquire, genVTry:
		switch g.rng.IntN(6) {
		case 0, 1:
			next.verb = genVRelease
		case 2:
			next.verb = genVDiscard
		case 3:
			next.verb = genVCancel
		default:
			return next, false
		}
		return next, true
	case genVRelease, genVDiscard, genVEnd:
		next.verb = genVAcquire
		return next, g.one(3)
	case genVCreate, genVShutdown:
		next.verb = genVCancel
		return next, g.one(3)
	}
	return next, false
}

// genCalm asks another strategy while several lines are done together, and preempts nobody
// before, when the pool is brought into a state, nor after, when the run winds down.
type genCalm struct {
	inner sched.Strategy
	each  func() sched.Strategy // if not nil, returns what to ask in the burst that begins
	run   *genRun               // nil before the pool is opened
	round int                   // one more than that of the burst which inner is for
}

// Pick implements sched.Strategy.
func (c *genCalm) Pick(choice sched.Choice) int {
	if c.run == nil || !c.run.tasks.burst {
		return 0
	}
	if c.each != nil && c.round != c.run.tasks.round+1 {
		c.inner, c.round = c.each(), c.run.tasks.round+1
	}
	return c.inner.Pick(choice)
}

// Prune implements sched.Pruner.
func (c *genCalm) Prune(next int) {
	if p, ok := c.inner.(sched.Pruner); ok && c.run != nil && c.run.tasks.burst {
		p.Prune(next)
	}
}

// genWalk preempts at one point in so many, but not while a lock is held: others would only
// come to wait for it.
type genWalk struct {
	draw func(label string, n int) int
	in   int
}

// Pick implements sched.Strategy.
func (w *genWalk) Pick(c sched.Choice) int {
	switch {
	case !c.Continue:
		return w.draw("next", c.N)
	case c.Holds || w.draw("preempt", w.in) > 0:
		return 0
	}
	return 1 + w.draw("preempt by", c.N-1)
}
